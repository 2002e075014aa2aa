"""The inbound consumer with a broker: each message takes effect once, however often it is delivered."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from app.adapters.kafka import clients
from app.adapters.postgresql.dead_letters import DeadLetterStore
from app.bootstrap import Service, bootstrap
from app.domain.errors import OrderNotFoundError
from app.entrypoints import components
from app.entrypoints.kafka.consumer import InboundConsumer
from app.entrypoints.kafka.subscription import Subscription
from app.service_layer.results import AllocationState
from app.settings import Settings
from tests.support.database import raw_connection
from tests.support.waiting import eventually
from tests.support.wire import Wire

pytestmark = pytest.mark.kafka


@pytest.fixture
async def service(kafka_settings: Settings) -> AsyncIterator[Service]:
    async with bootstrap(kafka_settings) as wired:
        yield wired


@pytest.fixture
def wire(kafka_settings: Settings) -> Iterator[Wire]:
    upstream = Wire(
        kafka_settings.kafka_bootstrap_servers,
        kafka_settings.kafka_inbound_topics[0],
        kafka_settings.kafka_events_topic,
    )
    yield upstream
    upstream.close()


@pytest.fixture
async def topics(service: Service) -> None:
    await clients.create_topics(service.kafka, service.settings.kafka_inbound_topics)


async def line(service: Service, order_id: str) -> AllocationState | None:
    try:
        (found,) = await service.queries.allocations(order_id)
    except OrderNotFoundError:
        return None
    return found


async def has_line(service: Service, order_id: str) -> None:
    async def it_is_there() -> bool:
        return await line(service, order_id) is not None

    await eventually(it_is_there)


async def count(service: Service, question: str) -> int:
    async with raw_connection(service.settings.database_url.get_secret_value()) as connection:
        number: int = await connection.fetchval(question)
        return number


async def letters(service: Service) -> list[tuple[str, bytes | None]]:
    return [(kept.letter.reason, kept.letter.value) for kept in await DeadLetterStore(service.engine).page(0)]


def send_story(wire: Wire) -> None:
    """One batch, one line, three unreadable messages, and a last line. All have one key, so one order."""
    wire.send("batch_created.v1", {"ref": "batch-1", "sku": "CHAIR", "qty": 9}, ce_id="1")
    wire.send("allocation_required.v1", {"order_id": "order-1", "sku": "CHAIR", "qty": 2}, ce_id="2")
    wire.send_raw([("ce_id", b"3"), ("ce_type", b"unknown")], b"\x00\xff", key="CHAIR")
    wire.send_raw([("nul\x00", b"\xff"), ("ce_id", b"4"), ("ce_type", b"batch_created.v1")], b"{}", key="CHAIR")
    wire.send_raw([], None, key="CHAIR")
    wire.send("allocation_required.v1", {"order_id": "order-2", "sku": "CHAIR", "qty": 3}, ce_id="5")


@pytest.mark.usefixtures("topics")
async def test_messages_take_effect_and_unreadable_ones_are_set_aside(service: Service, wire: Wire) -> None:
    send_story(wire)
    wire.send("allocation_required.v1", {"order_id": "order-2", "sku": "CHAIR", "qty": 3}, ce_id="5")
    wire.send_structured("allocation_required.v1", {"order_id": "last", "sku": "CHAIR", "qty": 1})

    async def all_are_set_aside() -> bool:
        return len(await letters(service)) == 3

    async with components.running([components.consumer(service)]):
        await has_line(service, "last")
        # Letters are of no cell, so with several cells their transaction may be a later one.
        await eventually(all_are_set_aside)

    assert (await service.queries.batch("batch-1")).allocated_qty == 2 + 3 + 1
    kept = await letters(service)
    assert [value for _, value in kept] == [b"\x00\xff", b"{}", None]
    assert [reason.partition(";")[0] for reason, _ in kept] == [
        "unknown type 'unknown'",
        "batch_created.v1: ref: Field required",
        "the record has no value",
    ]


class CrashingConsumer:
    """Fails `crashes` times after the commit of the effects and before that of the offsets."""

    def __init__(self, service: Service, crashes: int) -> None:
        self.crashes = crashes
        self.deliveries = 0
        self._inbound = InboundConsumer(service.bus, consumer_group=service.settings.kafka_consumer_group)

    async def handle(self, records: Sequence[ConsumerRecord]) -> None:
        self.deliveries += len(records)
        await self._inbound.handle(records)
        if self.crashes:
            self.crashes -= 1
            raise RuntimeError("the process is gone")


@pytest.mark.usefixtures("topics")
async def test_messages_delivered_again_after_a_crash_take_effect_once(service: Service, wire: Wire) -> None:
    send_story(wire)
    crashing = CrashingConsumer(service, crashes=1)

    async def start_consumer() -> AIOKafkaConsumer:
        settings = service.settings
        return await clients.start_consumer(service.kafka, settings.kafka_inbound_topics, settings.kafka_consumer_group)

    subscription = Subscription(start_consumer, crashing.handle, name="consumer", max_records=100)
    async with components.running([subscription.run]):

        async def is_over() -> bool:
            return crashing.crashes == 0 and crashing.deliveries >= 12

        await eventually(is_over)

    assert (await service.queries.batch("batch-1")).allocated_qty == 2 + 3
    assert await count(service, "SELECT count(*) FROM outbox") == 3
    assert await count(service, "SELECT count(*) FROM dead_letters") == 3


@pytest.mark.usefixtures("topics")
async def test_a_new_consumer_continues_at_the_committed_offsets(service: Service, wire: Wire) -> None:
    handed: list[int] = []

    async def start_consumer() -> AIOKafkaConsumer:
        settings = service.settings
        return await clients.start_consumer(service.kafka, settings.kafka_inbound_topics, settings.kafka_consumer_group)

    async def handle(records: Sequence[ConsumerRecord]) -> None:
        handed.extend(record.offset for record in records)

    async def handed_over(number: int) -> None:
        async def enough() -> bool:
            return len(handed) >= number

        await eventually(enough)

    send_story(wire)
    async with components.running([Subscription(start_consumer, handle, name="first", max_records=2).run]):
        await handed_over(6)
        # The offsets of the last records are committed right after them; one more record makes sure of that.
        wire.send_raw([], b"7", key="CHAIR")
        await handed_over(7)
    wire.send_raw([], b"8", key="CHAIR")
    async with components.running([Subscription(start_consumer, handle, name="second", max_records=2).run]):
        await handed_over(8)

    assert handed[:6] == [0, 1, 2, 3, 4, 5]
    # Only the last record before the stop may be delivered again.
    assert handed[6:] in ([6, 7], [6, 6, 7])


@pytest.mark.usefixtures("topics")
async def test_two_consumers_of_one_group_share_the_work(
    service: Service, kafka_settings: Settings, wire: Wire
) -> None:
    for number in range(12):
        wire.send("batch_created.v1", {"ref": f"batch-{number}", "sku": f"SKU-{number}", "qty": 9})
    async with (
        bootstrap(kafka_settings) as other,
        components.running([components.consumer(service), components.consumer(other)]),
    ):
        for number in range(12):
            wire.send("allocation_required.v1", {"order_id": f"order-{number}", "sku": f"SKU-{number}", "qty": 1})
        await asyncio.gather(*(has_line(service, f"order-{number}") for number in range(12)))

    assert await count(service, "SELECT count(*) FROM events WHERE type = 'line_allocated.v1'") == 12
    assert await count(service, "SELECT count(*) FROM dead_letters") == 0
