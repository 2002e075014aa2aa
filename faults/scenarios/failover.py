"""The primary crashes, and its standby is promoted."""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # missing in its stubs
from sqlalchemy.engine import make_url

from app.embedded.postgresql import EmbeddedPostgresql
from faults.actors import SKUS
from faults.database import Database
from faults.pair import Pair
from faults.rounds import DATABASE, LONGEST_HTTP_WAIT, Fault, Round
from faults.servers import Servers
from faults.topics import partitions_of, read_topic, to_event
from faults.trial import RECOVERY_LIMIT

ERRORS_END_SECONDS = 5.0
ERRORS = 5


LOST_SECONDS = 1.0
"""The time between the last WAL that the asynchronous standby received and the crash."""

LOST_ANSWERS = 20
BEFORE_SECONDS = 10
"""The inbound offsets are reset to a time that is earlier by more than the consumer's lag."""


@contextmanager
def pair_of_servers(servers: Servers, home: Path, *, synchronous: bool = True) -> Iterator[None]:
    """Run a primary with a standby; the URL names both."""
    usual = servers.postgresql
    pair = Pair(home / "pair", synchronous=synchronous)
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
    for number in range(this.plan.of(10, 2)):
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
        if number == 0 or not this.plan.short:
            _check_former(this, former)
        pair.attach(former.port)
    this.check({each: each.pid for each in this.stack.of()} == before, "a process was restarted")
    longest = this.journal.longest_wait()
    this.check_time(longest <= LONGEST_HTTP_WAIT, f"a caller waited {longest:.1f} s for an answer")
    compared = this.stack.command("reconcile")
    this.check(compared.returncode == 0, f"reconcile found something: {compared.stdout}{compared.stderr}")


def _check_former(this: Round, former: EmbeddedPostgresql) -> None:
    """Start the old primary as a second one, without fencing: the running processes keep to the promoted one."""
    former.start()
    try:
        url = make_url(former.admin_url).set(drivername="postgresql", database=DATABASE.format(this.name))
        old = Database(url.render_as_string(hide_password=False), this.plan.cells)
        written = (
            "SELECT (SELECT max(id) FROM events), (SELECT count(*) FROM inbox), (SELECT count(*) FROM commit_tokens)"
        )
        before, since = old.ask_each(written), time.time()

        # Only by the events: queries of the faults would reach the old primary, because both take writes.
        def flow() -> bool:
            return {event.subject for _, event in this.watcher.arrivals(since) if event.created > since} >= set(SKUS)

        this.wait_for(flow, RECOVERY_LIMIT, "events flow beside the old primary")
        sessions = old.ask("SELECT application_name FROM pg_stat_activity WHERE usename = 'allocation'")
        this.check(not sessions, f"the old primary has sessions of the service: {sessions}")
        this.check(old.ask_each(written) == before, "the service wrote to the old primary")
    finally:
        former.stop()


def lost_commits(this: Round) -> None:
    """The asynchronous standby lacks the last commits when it is promoted; the operator follows docs/backup.md."""
    pair = this.servers.pair
    assert pair is not None, "the servers are a pair"
    for rounds_left in reversed(range(this.plan.of(3, 1))):
        pair.part()
        parted = time.time()
        enough = functools.partial(_has_lost_enough, this, parted)
        this.wait_for(enough, RECOVERY_LIMIT, "commands are answered that the standby does not receive")
        former = pair.crash()
        this.stack.halt()
        pair.promote()
        this.servers.postgresql = pair.primary
        _check_import(this, parted)
        _reset_offsets(this, parted - BEFORE_SECONDS)
        this.stack.resume()
        seconds = this.recovered(time.time(), RECOVERY_LIMIT)
        this.say(f"all flows {seconds:.1f} s after the start")
        if rounds_left:
            pair.attach(former.port)
    compared = this.stack.command("reconcile")
    this.check(compared.returncode == 0, f"reconcile found something: {compared.stdout}{compared.stderr}")


def _has_lost_enough(this: Round, parted: float) -> bool:
    answered = [entry for entry, answer in this.journal.answers(parted) if entry.via == "http" and answer.is_definite]
    published = [event for _, event in this.watcher.arrivals(parted) if event.created > parted]
    return time.time() > parted + LOST_SECONDS and min(len(answered), len(published)) >= LOST_ANSWERS


def _check_import(this: Round, parted: float) -> None:
    """Every published event that the promoted server lacks is imported, and its product reported."""
    published = [to_event(record) for record in read_topic(this.bootstrap, this.watcher.topic)]
    known = _known(this)
    lost = [event for event in published if event.id not in known and event.sequence is not None]
    causes = {event.cause for event in lost}
    answered = {
        entry.id for entry, answer in this.journal.answers(parted) if entry.via == "http" and answer.is_definite
    }
    this.check(bool(causes & answered), "no answered command was lost, so nothing was broken")
    this.say(f"{len(causes & answered)} of {len(answered)} answered commands and {len(lost)} published events are lost")
    behind = {event.subject for event in lost}
    report = this.stack.command("advance-clocks")
    complete = report.returncode == 0 and f"products: {len(behind)} were behind" in report.stdout
    this.check(
        complete, f"{len(behind)} products are behind, and advance-clocks reports {report.stdout}{report.stderr}"
    )
    missing = {event.id for event in lost} - _known(this)
    this.check(not missing, f"{len(missing)} published events are not in the history after the import")


def _known(this: Round) -> set[str]:
    return {row[0] for row in this.database.ask_each("SELECT message_id::text FROM events")}


def _reset_offsets(this: Round, to: float) -> None:
    """Have the consumers read again what arrived since then, while none of them runs."""
    admin = AdminClient({"bootstrap.servers": this.bootstrap, "log_level": 0})
    topic = this.inbound_topic
    partitions = [TopicPartition(topic, number) for number in range(partitions_of(this.plan.cells))]
    since = admin.list_offsets({each: OffsetSpec.for_timestamp(int(1000 * to)) for each in partitions})
    ends = admin.list_offsets({each: OffsetSpec.latest() for each in partitions})  # type: ignore[no-untyped-call]
    found = {each: (since[each].result().offset, ends[each].result().offset) for each in partitions}
    # Without a later record, the offset is -1.
    wanted = [TopicPartition(topic, each.partition, at if at >= 0 else end) for each, (at, end) in found.items()]
    group = this.stack.settings["kafka_consumer_group"]
    for future in admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)]).values():
        future.result(RECOVERY_LIMIT)


def _noticed(this: Round, since: float) -> bool:
    return sum(not answer.is_definite for _, answer in this.journal.answers(since)) >= ERRORS


FAULTS: dict[str, Fault] = {
    "failover": Fault(failover, around=pair_of_servers),
    "lost-commits": Fault(
        lost_commits,
        around=functools.partial(pair_of_servers, synchronous=False),
        needs_log=True,
        loses_commits=True,
        in_short=False,
    ),
}
