"""The steps of docs/backup.md: dump a database under load, lose it, restore the dump, and continue from there."""

import asyncio
import subprocess
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka import TopicPartition
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from app.adapters.kafka import clients
from app.adapters.postgresql import schema
from app.bootstrap import Service, bootstrap
from app.embedded import postmaster
from app.embedded.postgresql import EmbeddedPostgresql
from app.entrypoints import components
from app.settings import Settings
from tests.support.api import new
from tests.support.cells import CELLS
from tests.support.command import environment, run_command
from tests.support.database import raw_connection
from tests.support.waiting import eventually
from tests.support.wire import Wire

pytestmark = pytest.mark.kafka

MESSAGES = 30
"""Messages before the dump, as many while it is made, and as many after it."""


def run(server: EmbeddedPostgresql, program: str, *arguments: str, url: str) -> None:
    """Run one of PostgreSQL's programs on a database."""
    parts = make_url(url)
    plain = f"postgresql://{parts.username}@{parts.host}:{parts.port}/{parts.database}"
    done = subprocess.run(
        [server.bin_dir / program, *arguments, f"--dbname={plain}"],
        env={**postmaster.ENVIRONMENT, "PGPASSWORD": str(parts.password)},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def wire(kafka_settings: Settings) -> Iterator[Wire]:
    upstream = Wire(
        kafka_settings.kafka_bootstrap_servers,
        kafka_settings.kafka_inbound_topics[0],
        kafka_settings.kafka_events_topic,
    )
    yield upstream
    upstream.close()


class Group:
    """The consumer group, as operators read and reset it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def offsets(self) -> dict[int, int]:
        """The committed offsets by partition; 0 for a partition without one."""
        with self._member() as member:
            topic = self._settings.kafka_inbound_topics[0]
            partitions = member.list_topics(topic, timeout=10).topics[topic].partitions
            committed = member.committed([TopicPartition(topic, number) for number in partitions], timeout=10)
            return {each.partition: max(each.offset, 0) for each in committed}

    def reset(self, offsets: Mapping[int, int]) -> None:
        """Commit these offsets as a member of the group: the embedded broker accepts commits from members only."""
        with self._member() as member:
            topic = self._settings.kafka_inbound_topics[0]
            member.subscribe([topic])
            while len(member.assignment()) < len(offsets):
                member.poll(0.1)
            places = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
            member.commit(offsets=places, asynchronous=False)

    def _member(self) -> confluent_kafka.Consumer:
        return confluent_kafka.Consumer(
            {
                "bootstrap.servers": self._settings.kafka_bootstrap_servers,
                "group.id": self._settings.kafka_consumer_group,
                "enable.auto.commit": False,
            }
        )


class Upstream:
    """Sends messages of which each has an effect of its own."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._orders = 0
        self.sent: set[str] = set()

    def batch(self, sku: str) -> None:
        self.sent.add(self._wire.send("batch_created.v1", {"ref": f"batch-{sku}", "sku": sku, "qty": 1000}))

    def orders(self, *skus: str) -> None:
        """Some lines, of the SKUs in turn."""
        for sku in islice(cycle(skus), MESSAGES):
            data = {"order_id": f"order-{self._orders}", "sku": sku, "qty": 1}
            self.sent.add(self._wire.send("allocation_required.v1", data))
            self._orders += 1

    @property
    def order_ids(self) -> set[str]:
        return {f"order-{number}" for number in range(self._orders)}


async def column(url: str, question: str) -> set[str]:
    """The values of a query for one column."""
    async with raw_connection(url) as connection:
        return {str(row[0]) for row in await connection.fetch(question)}


async def has_received(url: str, messages: set[str]) -> None:
    async def all_of_them() -> bool:
        return messages <= await column(url, "SELECT message_id FROM inbox")

    await eventually(all_of_them)


async def has_published(url: str) -> None:
    async def nothing_waits() -> bool:
        return not await column(url, "SELECT id FROM outbox")

    await eventually(nothing_waits)


Published = dict[tuple[str, int], set[tuple[str, bytes]]]


async def published_events(wire: Wire, events: int) -> Published:
    """The (id, value) pairs by SKU and sequence, once `events` different sequences have been published."""

    def read() -> Published:
        wire._read()
        found: defaultdict[tuple[str, int], set[tuple[str, bytes]]] = defaultdict(set)
        for event in wire._seen:
            place = (event.headers["ce_subject"], int(event.headers["ce_sequence"]))
            found[place].add((event.headers["ce_id"], event.value))
        return dict(found)

    async def enough() -> bool:
        return len(read()) >= events

    await eventually(enough)
    return read()


def succeeds(command: str, env: Mapping[str, str], folder: Path) -> str:
    done = run_command([command], env, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Backup:
    """The results of the backup steps of docs/backup.md, and the ids of the messages received before the dump."""

    dump: Path
    offsets: dict[int, int]
    received: set[str]


@asynccontextmanager
async def consuming(settings: Settings) -> AsyncIterator[Service]:
    """The service that consumes, in this process: one of its own takes seconds to start."""
    async with bootstrap(settings) as service, service.bus, components.running([components.consumer(service)]):
        yield service


async def back_up_at_work(
    upstream: Upstream, settings: Settings, server: EmbeddedPostgresql, skus: tuple[str, str], folder: Path
) -> Backup:
    """Back up the service while it consumes; messages that it receives later are not in the backup."""
    url = settings.database_url.get_secret_value()
    async with consuming(settings) as service:
        await clients.create_topics(service.kafka, settings.kafka_inbound_topics)
        upstream.batch(skus[0])
        await asyncio.to_thread(upstream.orders, skus[0])
        # No relay runs yet, so the dump has unpublished events.
        await has_received(url, upstream.sent)
        offsets = await asyncio.to_thread(Group(settings).offsets)
        backup = Backup(folder / "allocation.dump", offsets, set(upstream.sent))
        arguments = ("--format=custom", "--no-owner", f"--file={backup.dump}")
        dumping = asyncio.create_task(asyncio.to_thread(run, server, "pg_dump", *arguments, url=url))
        await asyncio.to_thread(upstream.orders, skus[0])
        await dumping
        # A product that is not in the dump.
        upstream.batch(skus[1])
        await asyncio.to_thread(upstream.orders, *skus)
        await has_received(url, upstream.sent)
        async with components.running([components.relay(service)]):
            await has_published(url)
    return backup


async def test_a_restored_dump_loses_and_doubles_nothing(
    kafka_settings: Settings, empty_database_url: str, postgresql: EmbeddedPostgresql, wire: Wire, tmp_path: Path
) -> None:
    upstream, skus = Upstream(wire), (new("sku"), new("sku"))
    backup = await back_up_at_work(upstream, kafka_settings, postgresql, skus, tmp_path)
    events = len(upstream.sent)
    before = await published_events(wire, events)

    # The database is lost, and all processes are stopped.
    url = empty_database_url
    arguments = ("--no-owner", "--single-transaction", "--exit-on-error", str(backup.dump))
    run(postgresql, "pg_restore", *arguments, url=url)
    restored = kafka_settings.model_copy(update={"database_url": SecretStr(url)})
    env = environment(restored)
    await asyncio.to_thread(schema.migrate, url, cells=CELLS.number)
    assert backup.received <= await column(url, "SELECT message_id FROM inbox") < upstream.sent
    waiting = await column(url, "SELECT message_id FROM events JOIN outbox USING (id)")
    assert waiting
    assert "2 were behind" in succeeds("advance-clocks", env, tmp_path)
    known = await column(url, "SELECT message_id FROM inbox")
    await asyncio.to_thread(Group(restored).reset, backup.offsets)
    async with consuming(restored) as service, components.running([components.relay(service)]):
        await has_received(url, upstream.sent)
        await has_published(url)

    # Nothing is lost, and nothing has taken effect twice.
    allocated = "SELECT order_id FROM order_lines WHERE batch_number IS NOT NULL"
    assert await column(url, allocated) == upstream.order_ids
    assert await column(url, "SELECT message_id FROM inbox") == upstream.sent
    assert await column(url, "SELECT id FROM dead_letters") == set()
    succeeds("reconcile", env, tmp_path)

    # No sequence was used twice: each has one id, and the events from before the loss are unchanged.
    after = await published_events(wire, events + len(upstream.sent - known))
    assert [place for place, kinds in after.items() if len(kinds) > 1] == []
    assert {place: after[place] for place in before} == before
    for sku in skus:
        assert sorted(number for each, number in after if each == sku) == list(
            range(1, 1 + sum(each == sku for each, _ in after))
        )
    # Events that were in the dumped outbox were published a second time with the same id.
    published = Counter(event.headers["ce_id"] for event in wire._seen)
    assert {ce_id for ce_id, times in published.items() if times == 2} == waiting
