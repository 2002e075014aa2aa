"""PostgreSQL's disk is full for a while."""

import ctypes
import functools
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.embedded.postgresql import EmbeddedPostgresql
from app.embedded.process import free_port
from faults.pair import CONNECTIONS
from faults.rounds import LONGEST_HTTP_WAIT, Fault, LeftOutError, Round
from faults.servers import Servers
from faults.trial import RECOVERY_LIMIT

VARIABLE = "SMALL_VOLUME"
MEGABYTE = 1 << 20
SIZE, LARGEST = 256 * MEGABYTE, 2048 * MEGABYTE
CHUNK = 64 * 1024
ERRORS_END_SECONDS = 5.0
STOP_SECONDS = 30.0
ERRORS = 20
NO_MOUNT = (
    f"it takes a small volume. As root, or under `unshare -Um --map-current-user --keep-caps`, one is mounted for the "
    f"round; else name a directory on one of 256 MB to 2 GB in {VARIABLE}"
)


@contextmanager
def small_volume(servers: Servers, home: Path) -> Iterator[None]:
    """Run PostgreSQL on a small volume. Raises LeftOutError if none exists and none can be mounted."""
    named = os.environ.get(VARIABLE)
    volume = Path(named) / f"allocation-{os.getpid()}" if named else home / "volume"
    volume.mkdir()
    try:
        if named is None:
            _mount(volume)
        elif shutil.disk_usage(volume).total > LARGEST:
            raise LeftOutError(
                f"{named} is not a small volume: it has {shutil.disk_usage(volume).total // MEGABYTE} MB"
            )
        with servers.other_postgresql(
            EmbeddedPostgresql(volume / "postgresql", port=free_port(), connections=CONNECTIONS)
        ):
            yield
    finally:
        if named is None:
            _unmount(volume)
        shutil.rmtree(volume, ignore_errors=True)


def disk_full(this: Round) -> None:
    """The disk is full twice: first for the tables, then for the WAL as well, which stops PostgreSQL."""
    before = {instance: instance.pid for instance in this.stack.of()}
    ballast = this.servers.postgresql.data_dir.with_name("ballast")
    for number in range(this.plan.of(3, 1)):
        _fill_for_a_while(this, ballast)
        _fill_until_it_ends(this, ballast)
        this.say(f"filled and freed {number + 1} times")
    this.check({each: each.pid for each in this.stack.of()} == before, "a process was restarted")
    _check_answers(this)


def _fill_for_a_while(this: Round, ballast: Path) -> None:
    """No file can grow; the present WAL segment has room, so PostgreSQL continues and refuses."""
    full = time.time()
    _fill(ballast)
    noticed = functools.partial(_refused, this, full, this.plan.of(5 * ERRORS, ERRORS))
    this.wait_for(noticed, RECOVERY_LIMIT, "callers notice that the disk is full")
    # The segment may be full already, which is the second case earlier than intended.
    ended = " and PostgreSQL had ended" if this.servers.postgresql.pid is None else ""
    _heal(this, ballast, full, f"the disk was full{ended}")


def _fill_until_it_ends(this: Round, ballast: Path) -> None:
    """The WAL cannot grow either. PostgreSQL stops so as not to lose a commit, and an operator restarts it."""
    full = time.time()
    _fill(ballast)
    postgresql = this.servers.postgresql
    deadline = time.monotonic() + STOP_SECONDS
    while postgresql.pid is not None and time.monotonic() < deadline:
        _fill(ballast)
        _switch_segment(this)
    this.check(postgresql.pid is None, f"PostgreSQL did not end within {STOP_SECONDS:g} s of a full log")
    this.wait_for(functools.partial(_refused, this, full, ERRORS), RECOVERY_LIMIT, "callers notice that it ended")
    _heal(this, ballast, full, "the log was full and PostgreSQL had ended")


def _heal(this: Round, ballast: Path, since: float, what: str) -> None:
    ballast.unlink()
    this.servers.postgresql.start()
    freed = time.time()
    seconds = this.recovered(freed, RECOVERY_LIMIT)
    last = max(this.journal.last_server_error() or freed, freed)
    bound = f"5xx went on for {last - freed:.1f} s after the disk had room again"
    this.check_time(last - freed <= ERRORS_END_SECONDS, bound)
    this.say(f"{what} for {freed - since:.1f} s; 5xx ended after {last - freed:.1f} s, all flows {seconds:.1f}")


def _fill(ballast: Path) -> None:
    """Fill the remaining space, to the last block."""
    with ballast.open("ab", buffering=0) as file:
        for chunk in (CHUNK, 4096):
            try:
                while file.write(bytes(chunk)) == chunk:
                    pass
            except OSError:
                continue


def _switch_segment(this: Round) -> None:
    """Make PostgreSQL start a new WAL segment; without space, it fails and closes the connection."""
    try:
        this.servers.administer("SELECT pg_switch_wal(), pg_logical_emit_message(false, 'faults', 'the log goes on')")
    except Exception as error:  # noqa: BLE001 - any error of a stopping server
        this.say(f"a new segment of the log: {error!r}")
        time.sleep(0.1)


def _refused(this: Round, since: float, errors: int) -> bool:
    return sum((answer.status or 0) >= 500 for _, answer in this.journal.answers(since)) >= errors


def _check_answers(this: Round) -> None:
    """Callers that could not be served got 503, a problem and Retry-After, within the guaranteed time."""
    refusals = [answer for _, answer in this.journal.answers() if (answer.status or 0) >= 500]
    wrong = [answer for answer in refusals if not _is_clear(answer.status, answer.headers, answer.body)]
    this.check(not wrong, f"{len(wrong)} of {len(refusals)} refusals were not clear, such as {wrong[:1]}")
    lost = [answer for entry, answer in this.journal.answers() if entry.via == "http" and answer.status is None]
    this.check(not lost, f"{len(lost)} requests had no answer at all, such as {lost[:1]}")
    longest = this.journal.longest_wait()
    this.check_time(longest <= LONGEST_HTTP_WAIT, f"a caller waited {longest:.1f} s for an answer")
    this.say(f"{len(refusals)} refusals; the longest wait was {longest:.1f} s")


def _is_clear(status: int | None, headers: dict[str, str], body: Any) -> bool:  # noqa: ANN401 - JSON
    return (
        status == 503
        and headers.get("content-type") == "application/problem+json"
        and headers.get("retry-after", "").isdecimal()
        and isinstance(body, dict)
        and body.get("code") in {"unavailable", "overloaded"}
    )


def _mount(directory: Path) -> None:
    """Use the system call: the program `mount` requires root even where a user namespace allows it."""
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={SIZE},mode=755".encode()
    if libc.mount(b"tmpfs", os.fsencode(directory), b"tmpfs", 0, options) != 0:
        raise LeftOutError(f"{NO_MOUNT} ({os.strerror(ctypes.get_errno())})")


def _unmount(directory: Path) -> None:
    """If mounting failed, this fails too, without harm."""
    ctypes.CDLL(None).umount2(os.fsencode(directory), 2)


FAULTS: dict[str, Fault] = {
    "disk-full": Fault(disk_full, around=small_volume),
}
