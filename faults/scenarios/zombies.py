"""Processes that are paused during their work, are replaced, and continue afterwards."""

import functools
import signal
import time
from collections import Counter

from faults.rounds import Fault, Round
from faults.stack import Instance, Role
from faults.topics import read_topic, to_event
from faults.trial import RECOVERY_LIMIT

IN_FLIGHT_SECONDS = 0.4
"""The outage before a process is paused: long enough that it waits for a response."""

LOCK_SECONDS = 15.0
"""PostgreSQL's idle transaction timeout: the paused process may hold locks that its successor needs."""

TAKE_OVER_SECONDS = 3.0
AWAKE_SECONDS = 5.0
"""The limit for recovery after paused processes continue."""

ROLES: tuple[Role, ...] = ("relay", "consume", "notify")
WAYS = ("broker", "database", None)


def zombies(this: Round) -> None:
    """One process of each role is paused past its lease or session, and continued: it can only duplicate.

    The way to the broker, or to the database, is interrupted during the pause. So the relay pauses between sending
    and deleting, or between reading and sending; the consumer within a transaction, or between effects and offset.
    """
    bound = max(this.plan.lease, this.plan.session) + LOCK_SECONDS + TAKE_OVER_SECONDS
    for number in range(this.plan.of(9, 2)):
        way = WAYS[number % len(WAYS)]
        stopped, since = _stop(this, way)
        taken_over = this.recovered(since, RECOVERY_LIMIT, bound=bound)
        # By now they are replaced, and leases and sessions have ended.
        rest = since + 2 * max(this.plan.lease, this.plan.session) - time.time()
        time.sleep(max(rest, 0.0))
        for instance in stopped:
            this.stack.signal(instance, signal.SIGCONT)
        awake = time.time()
        seconds = this.recovered(awake, RECOVERY_LIMIT, bound=AWAKE_SECONDS)
        this.wait_for(functools.partial(_mails_are_sent, this, awake), RECOVERY_LIMIT, "the notifiers go on")
        names = ", ".join(map(str, stopped))
        this.say(
            f"{names} stopped ({way or 'anywhere'}) for {awake - since:.1f} s: succeeded in {taken_over:.1f},"
            f" all flows {seconds:.1f} s after they went on"
        )
    repeats = _repeats(this)
    this.check(repeats > 0, "no zombie has published anything twice, so none was stopped while it published")
    this.say(f"{repeats} events came more than once")


def _stop(this: Round, way: str | None) -> tuple[list[Instance], float]:
    """Pause one process of each role while it waits for a response; returns them and the time."""
    victims = [this.random.choice(this.stack.of(role)) for role in ROLES]
    proxy = {"broker": this.servers.broker_proxy, "database": this.servers.database_proxy}.get(way or "")
    if proxy is not None:
        proxy.set_mode("hole")
        time.sleep(IN_FLIGHT_SECONDS)
    for victim in victims:
        this.stack.signal(victim, signal.SIGSTOP)
    since = time.time()
    if proxy is not None:
        # Their sent data arrives, and responses wait for them.
        proxy.set_mode("pass")
    return victims, since


def _mails_are_sent(this: Round, until: float) -> bool:
    """Whether the notifiers have handled every event that was created before that time."""
    wanted: dict[str, int] = {}
    for _, event in this.watcher.arrivals(0.0):
        if event.created < until:
            wanted[event.subject] = max(wanted.get(event.subject, 0), event.sequence or 0)
    known = dict(this.database.ask_each("SELECT sku, sequence FROM notified_products"))
    return all(known.get(sku, 0) >= sequence for sku, sequence in wanted.items())


def _repeats(this: Round) -> int:
    """The number of repeated events in the topic."""
    records = read_topic(this.servers.bootstrap_servers(), this.watcher.topic)
    return sum(times > 1 for times in Counter(to_event(record).id for record in records).values())


FAULTS: dict[str, Fault] = {
    "zombies": Fault(zombies, proxied=True),
}
