"""Three brokers, of which some are lost, and changes of their topics."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined] # missing in its stubs

from faults.cluster import NODES, Cluster
from faults.handled import Handled
from faults.observe import inbound_messages, published_events
from faults.rounds import Fault, Round
from faults.scenarios.broker import FLOWS_AGAIN_SECONDS, check_writes, outbox_size
from faults.servers import Servers
from faults.topics import SECONDS, admin_of, create_topics, delete_topic, partitions_of
from faults.trial import MARGIN, RECOVERY_LIMIT

WAITING = 20
"""Events in the outbox that show that none can be published."""

FOUND_SECONDS = 15.0
"""The limit for events and messages after a topic has changed: clients read its metadata every ten seconds."""


@contextmanager
def three_brokers(servers: Servers, home: Path) -> Iterator[None]:
    """Run three brokers in place of the usual one."""
    cluster = Cluster(home / "cluster")
    try:
        cluster.start()
        servers.cluster = cluster
        yield
    finally:
        servers.cluster = None
        cluster.stop()


def brokers(this: Round) -> None:
    """One broker of three is lost, and two; leaders move, and topics change. No process of the service restarts."""
    before = {instance: instance.pid for instance in this.stack.of()}
    # The short round waits for its brokers once.
    for first in (this.random.choice(NODES),) if this.plan.short else NODES:
        _lose(this, first)
        if not this.plan.short:
            _bring_back(this)
            _lose(this, first)
        _lose_another(this, first)
        _bring_back(this)
    with Handled(this, time.time()) as handled:
        this.load.repeats = handled
        _add_partitions(this)
        _create_events_again(this)
        _create_inbound_again(this, handled)
        this.load.repeats = None
    this.check({each: each.pid for each in this.stack.of()} == before, "a process was restarted")


def _cluster(this: Round) -> Cluster:
    assert this.servers.cluster is not None, "the servers are a cluster"
    return this.servers.cluster


def _lose(this: Round, number: int) -> None:
    """Kill one broker: the two others suffice."""
    led = _cluster(this).led_by(number)
    away = time.time()
    _cluster(this).kill(number)
    seconds = this.recovered(away, RECOVERY_LIMIT, bound=FLOWS_AGAIN_SECONDS)
    check_writes(this, away, time.time())
    this.check(led > 0, f"broker {number} led no partition, so nothing was broken")
    this.say(f"broker {number}, which led {led} partitions, was lost: all flows after {seconds:.1f} s, without it")


def _lose_another(this: Round, first: int) -> None:
    """Kill a second broker: the third one may not accept writes."""
    away = time.time()
    second = this.random.choice([number for number in NODES if number != first])
    _cluster(this).kill(second)
    this.wait_for(lambda: outbox_size(this) > WAITING, RECOVERY_LIMIT, "events wait")
    check_writes(this, away, time.time())
    late = [event.id for _, event in this.watcher.arrivals(away) if event.created > away + MARGIN]
    this.check(not late, f"{len(late)} events were published with one broker of three")


def _bring_back(this: Round) -> None:
    """Start the killed brokers, which lead their partitions again."""
    waiting = outbox_size(this)
    away = time.time()
    _cluster(this).start()
    back = time.time()
    this.wait_for(_cluster(this).is_balanced, RECOVERY_LIMIT, "the brokers lead their partitions again")
    moved = time.time()
    check_writes(this, away, moved)
    seconds = this.recovered(back, RECOVERY_LIMIT, bound=FLOWS_AGAIN_SECONDS)
    this.say(
        f"{waiting} events waited; the brokers started in {back - away:.1f} s; {moved - back:.1f} s later the leaders"
        f" were moved; all flows {seconds:.1f} s after the start"
    )


def _add_partitions(this: Round) -> None:
    """Add partitions to both topics under the load."""
    admin = admin_of(this.bootstrap)
    before, after = partitions_of(this.plan.cells), _partitions(this)
    added = [NewPartitions(topic, after) for topic in (this.inbound_topic, this.watcher.topic)]
    this.changes.moved = True
    for future in admin.create_partitions(added, operation_timeout=SECONDS).values():
        future.result(SECONDS)
    since = time.time()
    this.watcher.reopen(after)
    new = set(range(before, after))
    this.wait_for(lambda: new <= _partitions_since(this, since), RECOVERY_LIMIT, "the new partitions have events")
    seconds = this.recovered(since, RECOVERY_LIMIT, bound=FOUND_SECONDS)
    this.say(f"{len(new)} partitions added: events there, and all flows after {seconds:.1f} s")


def _partitions(this: Round) -> int:
    """The number of partitions of both topics after some were added."""
    return partitions_of(this.plan.cells, later=True)


def _partitions_since(this: Round, since: float) -> set[int]:
    return {event.partition for _, event in this.watcher.arrivals(since)}


def _create_events_again(this: Round) -> None:
    """Delete and create the topic of the events under the load. The relays go on before it is created."""
    relays = this.stack.of("relay")
    for relay in relays:
        this.stack.signal(relay, signal.SIGSTOP)
    this.changes.keep_events(published_events(this.bootstrap, this.watcher.topic))
    delete_topic(this.bootstrap, this.watcher.topic)
    for relay in relays:
        this.stack.signal(relay, signal.SIGCONT)
    away = time.time()
    this.wait_for(lambda: outbox_size(this) > WAITING, RECOVERY_LIMIT, "events wait")
    _create(this, this.watcher.topic)
    back = time.time()
    this.watcher.reopen(_partitions(this))
    seconds = this.recovered(back, RECOVERY_LIMIT, bound=FOUND_SECONDS)
    check_writes(this, away, back)
    this.say(f"the events topic was away for {back - away:.1f} s; all flows after {seconds:.1f}")


def _create_inbound_again(this: Round, handled: Handled) -> None:
    """Delete and create the inbound topic, whose records are all handled, and go on with messages at once."""
    with handled.senders_stopped():
        this.changes.keep_inbound(inbound_messages(this.bootstrap, this.inbound_topic))
        delete_topic(this.bootstrap, this.inbound_topic)
        _create(this, this.inbound_topic)
        this.load.renew_producer()
    since = time.time()
    seconds = this.recovered(since, RECOVERY_LIMIT, bound=FOUND_SECONDS)
    this.say(f"the inbound topic was created again; all flows after {seconds:.1f}")


def _create(this: Round, topic: str) -> None:
    create_topics(this.bootstrap, topic, replication=this.servers.replication, partitions=_partitions(this))


FAULTS: dict[str, Fault] = {
    "brokers": Fault(brokers, around=three_brokers, in_short=False),
}
