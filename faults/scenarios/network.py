"""The network to the database or the broker drops all packets, without resets."""

import functools
import time
from collections.abc import Iterator

from faults.proxy import Mode, Proxy
from faults.rounds import LONGEST_HTTP_WAIT, Fault, Round
from faults.scenarios.broker import check_writes, outbox_size
from faults.scenarios.probes import ALIVE, UNAVAILABLE, Probed, Probes
from faults.trial import RECOVERY_LIMIT

Way = tuple[float, Mode]
FULL: tuple[Way, ...] = ((60.0, "pass"), (2.0, "forget"))
SHORT: tuple[Way, ...] = ((9.5, "forget"),)
"""Seconds of outage, and the mode afterwards: buffered data arrives, or old connections stay dead without a reset. The
longest is longer than any wait of the service."""

ANSWERED_SECONDS = 9.0
"""Only a longer outage causes timeouts of responses."""

BACK_SECONDS = 20.0
"""The limit for recovery: the longest wait for a command, a lock or a response, plus a margin."""

HEALTHY_SECONDS = 1.0
CODES = {"unavailable", "overloaded"}


def black_hole_database(this: Round) -> None:
    """The way to the database: 503 in time during the outage, and full recovery afterwards."""
    with Probes(this.stack.http_ports()) as probes:
        for away, back in _holes(this, this.servers.database_proxy):
            dark = [probed for probed in probes.answers(away) if probed.at < back]
            this.wait_for(functools.partial(probes.all_are_well, back), BACK_SECONDS, "reads are answered again")
            reads = time.time() - back
            seconds = this.recovered(back, RECOVERY_LIMIT, bound=BACK_SECONDS)
            check_dark(this, dark, expected=back - away > ANSWERED_SECONDS)
            this.say(f"dark for {back - away:.1f} s; reads answered after {reads:.1f}, all flows after {seconds:.1f}")
        slowest = max(probes.answers(0), key=lambda probed: probed.seconds)
        this.check_time(slowest.seconds <= LONGEST_HTTP_WAIT, f"a caller waited: {slowest}")
    errors = [(entry, answer) for entry, answer in this.journal.answers() if (answer.status or 0) >= UNAVAILABLE - 3]
    odd = [entry.id for entry, answer in errors if answer.status != UNAVAILABLE or answer.body["code"] not in CODES]
    this.check(not odd, f"writes were answered with another error than 503: {odd[:3]}")
    this.check(bool(errors), "no write was answered with 503, so nothing was broken")
    longest = this.journal.longest_wait()
    this.check_time(longest <= LONGEST_HTTP_WAIT, f"a caller waited {longest:.1f} s for an answer")
    this.say(f"{len(errors)} writes answered 503; the slowest answer of all {max(longest, slowest.seconds):.1f} s")


def black_hole_broker(this: Round) -> None:
    """The way to the broker: HTTP callers are not affected, and events wait."""
    for away, back in _holes(this, this.servers.broker_proxy):
        waiting = outbox_size(this)
        seconds = this.recovered(back, RECOVERY_LIMIT, bound=BACK_SECONDS)
        check_writes(this, away, back)
        this.check(waiting > 0, "no event had to wait, so nothing was broken")
        this.say(f"dark for {back - away:.1f} s with {waiting} events waiting; all flows after {seconds:.1f}")


def check_dark(this: Round, answers: list[Probed], *, expected: bool) -> None:
    """Requests that need the database got 503 with Retry-After; others were answered as usual."""
    alive = [probed for probed in answers if probed.question == ALIVE]
    others = [probed for probed in answers if probed.question != ALIVE]
    this.check(bool(others) or not expected, "no request was sent in the outage")
    sick = [str(probed) for probed in alive if not probed.is_expected or probed.seconds > HEALTHY_SECONDS]
    odd = [str(probed) for probed in others if probed.status != UNAVAILABLE or not (probed.retry_after or "").isdigit()]
    this.check(not sick, f"the liveness suffered: {sick[:3]}")
    this.check(not odd, f"{len(odd)} of {len(others)} were not answered with 503 and Retry-After: {odd[:3]}")


def _holes(this: Round, proxy: Proxy) -> Iterator[tuple[float, float]]:
    """Start and end the outage during the load; yields its start and its end."""
    before = {instance: instance.pid for instance in this.stack.of()}
    for seconds, mode in SHORT if this.plan.short else FULL:
        this.say(f"dark for {seconds:g} s, and then {mode}")
        proxy.set_mode("hole")
        away = time.time()
        time.sleep(seconds)
        proxy.set_mode(mode)
        yield away, time.time()
    this.check({each: each.pid for each in this.stack.of()} == before, "a process was restarted")


FAULTS: dict[str, Fault] = {
    "black-hole-database": Fault(black_hole_database, proxied=True),
    "black-hole-broker": Fault(black_hole_broker, proxied=True),
}
