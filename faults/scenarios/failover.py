"""The primary crashes, and its standby is promoted."""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.pair import Pair
from faults.rounds import LONGEST_HTTP_WAIT, RECOVERY_LIMIT, Fault, Round
from faults.servers import Servers

ERRORS_END_SECONDS = 5.0
ERRORS = 5


@contextmanager
def pair_of_servers(servers: Servers, home: Path) -> Iterator[None]:
    """Run a primary with a synchronous standby; the URL names both."""
    usual = servers.postgresql
    pair = Pair(home / "pair")
    try:
        pair.start()
        servers.postgresql, servers.pair = pair.primary, pair
        yield
    finally:
        servers.postgresql, servers.pair = usual, None
        pair.stop()


def failover(this: Round) -> None:
    """A primary with a synchronous standby crashes, the standby is promoted, and the next one is attached."""
    pair = this.servers.pair
    assert pair is not None, "the servers are a pair"
    before = {instance: instance.pid for instance in this.stack.of()}
    for _ in range(this.plan.of(10, 2)):
        away = time.time()
        former = pair.crash()
        # Wait until callers notice the outage, otherwise nothing was broken.
        this.wait_for(functools.partial(_noticed, this, away), RECOVERY_LIMIT, "callers notice")
        pair.promote()
        promoted = time.time()
        this.servers.postgresql = pair.primary
        seconds = this.recovered(promoted, RECOVERY_LIMIT)
        last = max(this.journal.last_server_error() or promoted, promoted)
        bound = f"5xx went on for {last - promoted:.1f} s after the promotion"
        this.check_time(last - promoted <= ERRORS_END_SECONDS, bound)
        this.say(
            f"promoted after {promoted - away:.1f} s; 5xx ended after {last - promoted:.1f}, all flows {seconds:.1f}"
        )
        pair.attach(former.port)
    this.check({each: each.pid for each in this.stack.of()} == before, "a process was restarted")
    longest = this.journal.longest_wait()
    this.check_time(longest <= LONGEST_HTTP_WAIT, f"a caller waited {longest:.1f} s for an answer")
    compared = this.stack.command("reconcile")
    this.check(compared.returncode == 0, f"reconcile found something: {compared.stdout}{compared.stderr}")


def _noticed(this: Round, since: float) -> bool:
    return sum(not answer.is_definite for _, answer in this.journal.answers(since)) >= ERRORS


FAULTS: dict[str, Fault] = {
    "failover": Fault(failover, around=pair_of_servers),
}
