"""Processes whose clocks are wrong: an hour ahead, an hour behind, and stepping while holds run."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from faults.actors import SKUS
from faults.rounds import Fault, LeftOutError, Round
from faults.servers import Servers
from faults.stack import PLAIN_ENTRY, Instance
from faults.trial import RECOVERY_LIMIT
from tests.support.downloads import DownloadError, debian_package

PACKAGE = "libfaketime"
LIBRARY = "usr/lib/*/faketime/libfaketimeMT.so.1"
HOUR = 3600
OFFSETS = {"serve-0": HOUR, "consume-0": -HOUR, "relay-0": HOUR, "relay-1": -HOUR, "notify-0": -HOUR}
"""Seconds by which the clock of a process is ahead. The others are right."""

STEPPING = "serve-1"
STEPS = (HOUR, -HOUR, 0)
TOLERANCE = 60.0
"""The times of events may differ from this machine's by much less than an hour."""

RETRY_AFTER_LIMIT = 60

_LOGGED_TIME = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z", re.MULTILINE)


@contextmanager
def faketime(_: Servers, home: Path) -> Iterator[None]:
    """Require the library libfaketime, installed or from Debian. Raises LeftOutError."""
    try:
        _library()
    except DownloadError as error:
        raise LeftOutError(f"there is no libfaketime: {error}") from None
    for name in (*OFFSETS, STEPPING):
        _set_clock(home, name, OFFSETS.get(name, 0))
    yield


def wrong_clocks(this: Round) -> None:
    """Nothing depends on the clock of a process: ends of holds, leases, waits, times of events."""
    began = time.time()
    for ahead in STEPS * this.plan.of(5, 1):
        _set_clock(this.home, STEPPING, ahead)
        this.recovered(time.time(), RECOVERY_LIMIT)
    this.check(_reports_wrong_clock(this), "no process has a wrong clock, so nothing was wrong")
    arrivals = this.watcher.arrivals(began)
    off = [event for arrived, event in arrivals if abs(arrived - event.created) > TOLERANCE]
    this.check(len(arrivals) >= len(SKUS), "hardly any events were published")
    this.check(not off, f"{len(off)} events have a wrong time, such as {off[:1]}")
    waits = [answer.headers.get("retry-after", "0") for _, answer in this.journal.answers(began)]
    this.check(all(int(seconds) <= RETRY_AFTER_LIMIT for seconds in waits), f"Retry-After was {max(waits, key=int)} s")
    compared = this.stack.command("reconcile")
    this.check(compared.returncode == 0, f"reconcile found something: {compared.stdout}{compared.stderr}")


def _reports_wrong_clock(this: Round) -> bool:
    """Whether the last time in the log of a process is later than the time of this machine."""
    (instance,) = [each for each in this.stack.of() if str(each) == "serve-0"]
    times = _LOGGED_TIME.findall(this.stack.log_of(instance).read_text(errors="replace"))
    return bool(times) and datetime.fromisoformat(times[-1]).timestamp() > time.time() + TOLERANCE


def _library() -> Path:
    """The library of this machine, or else of the package. Raises DownloadError."""
    installed = next(Path("/").glob(LIBRARY), None)
    return installed or next(debian_package(PACKAGE).glob(LIBRARY))


def _clock_file(home: Path, name: str) -> Path:
    return home / f"{name}.clock"


def _set_clock(home: Path, name: str, ahead: int) -> None:
    draft = _clock_file(home, name).with_suffix(".draft")
    draft.write_text(f"{ahead:+d}\n")
    draft.replace(_clock_file(home, name))


def _skewed_entry(home: Path, instance: Instance) -> Sequence[str]:
    clock = _clock_file(home, str(instance))
    if not clock.exists():
        return PLAIN_ENTRY
    settings = {
        "LD_PRELOAD": str(_library()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        # As on a machine whose clock is set: the monotonic one goes on.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }
    return ("env", *(f"{name}={value}" for name, value in settings.items()), *PLAIN_ENTRY)


FAULTS: dict[str, Fault] = {
    "wrong-clocks": Fault(wrong_clocks, entry=_skewed_entry, around=faketime, in_short=False),
}
