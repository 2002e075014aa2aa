"""A slow disk under PostgreSQL, and a slow network to both servers, each with more load than can be served."""

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.embedded.postgresql import EmbeddedPostgresql
from app.embedded.process import free_port
from faults.database import Database
from faults.flood import Flood, middle
from faults.pair import CONNECTIONS
from faults.proxy import SLOW_SECONDS, Mode
from faults.rounds import DATABASE, LONGEST_HTTP_WAIT, Fault, LeftOutError, Round
from faults.servers import Servers
from faults.trial import RECOVERY_LIMIT
from tests.support.downloads import DownloadError, c_library

SOURCE = Path(__file__).parent.with_name("slow_disk") / "slow_disk.c"
FLUSH_SECONDS = 0.08
DELAY_FILE = "slow-disk.delay"

# Small queues, so that a hundred clients are more than they hold: each of two processes has two workers.
SMALL_QUEUES = {"bus_queue_limit": "8", "bus_group_limit": "8"}
CLIENTS = 100
PROBES = 5
BACK_SECONDS = 10.0
"""The limit until everything flows after the slowness."""

AT_ONCE_SECONDS = 1.0
"""A request that is shed is answered within this time in the median: it did not wait in a queue."""


class SlowPostgresql(EmbeddedPostgresql):
    """PostgreSQL with a library before the C library that delays flushes, by the microseconds in a file."""

    def __init__(self, data_dir: Path, *, port: int, library: Path, delay: Path) -> None:
        """`delay` is read at each flush."""
        super().__init__(data_dir, port=port, connections=CONNECTIONS)
        self._programs = data_dir.with_name("programs")
        self._programs.mkdir()
        usual = super().bin_dir
        for program in usual.iterdir():
            (self._programs / program.name).symlink_to(program)
        wrapper = self._programs / "postgres"
        wrapper.unlink()
        settings = f"LD_PRELOAD={shlex.quote(str(library))} SLOW_DISK={shlex.quote(str(delay))}"
        wrapper.write_text(f'#!/bin/sh\n{settings} exec {shlex.quote(str(usual / "postgres"))} "$@"\n')
        wrapper.chmod(0o755)

    @property
    def bin_dir(self) -> Path:
        """The usual programs, with a wrapper for the server."""
        return self._programs


@contextmanager
def preloaded(servers: Servers, home: Path) -> Iterator[None]:
    """Run PostgreSQL with flushes that can be delayed. Raises LeftOutError without a C compiler."""
    try:
        library = c_library(SOURCE)
    except DownloadError as error:
        raise LeftOutError(f"the library that delays flushes cannot be built: {error}") from error
    _delay_flushes(home, 0.0)
    folder = home / "slow-disk"
    folder.mkdir()
    slow = SlowPostgresql(folder / "postgresql", port=free_port(), library=library, delay=home / DELAY_FILE)
    with servers.other_postgresql(slow):
        yield


def slow_disk(this: Round) -> None:
    """Each flush of the write-ahead log takes tens of milliseconds."""

    def delay(seconds: float) -> None:
        _delay_flushes(this.home, seconds)

    commit = "SELECT pg_logical_emit_message(true, 'faults', 'a transaction that is flushed')"
    _endure(this, lambda: delay(FLUSH_SECONDS), lambda: delay(0.0), lambda: this.database.ask(commit), FLUSH_SECONDS)


def slow_network(this: Round) -> None:
    """Each packet to and from the database and the broker takes tens of milliseconds, and some are lost."""

    def switch(mode: Mode) -> None:
        this.servers.database_proxy.set_mode(mode)
        this.servers.broker_proxy.set_mode(mode)

    url = this.servers.database_url(DATABASE.format(this.name), proxied=True).set(drivername="postgresql")
    # At least five ways there and back: to connect, to log in, and for the query.
    least = 10 * SLOW_SECONDS
    proxied = Database(url.render_as_string(hide_password=False))
    _endure(this, lambda: switch("slow"), lambda: switch("pass"), lambda: proxied.ask("SELECT 1"), least)


def _endure(
    this: Round, begin: Callable[[], None], end: Callable[[], None], probe: Callable[[], object], least: float
) -> None:
    """Every wait is bounded, excess is shed at once, and all flows after it. `probe` takes `least` seconds."""
    before = {instance: instance.pid for instance in this.stack.of()}
    begin()
    fastest = min(_seconds_of(probe) for _ in range(PROBES))
    this.check(fastest >= least, f"a probe took {fastest:.3f} s, so nothing was slow")
    with Flood(this.stack.http_ports(), CLIENTS) as flood:
        time.sleep(this.plan.of(60, 8))
    end()
    seconds = this.recovered(time.time(), RECOVERY_LIMIT, bound=BACK_SECONDS)
    check_replies(this, flood)
    this.check({each: each.pid for each in this.stack.of()} == before, "a process was restarted")
    longest = this.journal.longest_wait()
    this.check_time(longest <= LONGEST_HTTP_WAIT, f"a caller waited {longest:.1f} s for an answer")
    this.say(f"the longest wait of the usual clients was {longest:.1f} s; all flowed {seconds:.1f} s after it")


def check_replies(this: Round, flood: Flood) -> None:
    """Requests were served, and others shed at once; every answer came in time."""
    served, shed, unclear = flood.served, flood.shed, flood.unclear
    longest = max((reply.seconds for reply in flood.replies), default=0.0)
    this.say(
        f"{len(served)} of {len(flood.replies)} requests of {CLIENTS} clients were served, in the median after "
        f"{middle(served):.2f} s; {len(shed)} were shed after {middle(shed):.3f} s; the longest wait {longest:.1f} s"
    )
    this.check(bool(served), "no request was served")
    this.check(bool(shed), "nothing was shed, so there was not too much load")
    this.check(not unclear, f"{len(unclear)} answers are not of the contract, such as {unclear[:2]}")
    this.check_time(longest <= LONGEST_HTTP_WAIT, f"a caller of many waited {longest:.1f} s for an answer")
    waited = middle(shed)
    this.check_time(waited <= AT_ONCE_SECONDS, f"what was shed waited {waited:.1f} s in the median")


def _seconds_of(probe: Callable[[], object]) -> float:
    began = time.monotonic()
    probe()
    return time.monotonic() - began


def _delay_flushes(home: Path, seconds: float) -> None:
    draft = home / f"{DELAY_FILE}.draft"
    draft.write_text(f"{seconds * 1e6:.0f}\n")
    draft.replace(home / DELAY_FILE)


FAULTS: dict[str, Fault] = {
    "slow-disk": Fault(slow_disk, settings=SMALL_QUEUES, around=preloaded, in_short=False),
    "slow-network": Fault(slow_network, proxied=True, settings=SMALL_QUEUES, in_short=False),
}
