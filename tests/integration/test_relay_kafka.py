"""The relay with a broker, read by an independent client."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from app.adapters.kafka import clients
from app.adapters.postgresql.outbox_reader import OutboxReader
from app.adapters.postgresql.outbox_signal import OutboxListener
from app.bootstrap import Service, bootstrap
from app.domain.commands import Allocate, CancelAllocation, ChangeBatchQuantity, Command, CreateBatch
from app.entrypoints import components
from app.entrypoints.kafka.relays import Relays
from app.service_layer.lock_sets import LockSet
from app.settings import Settings
from tests.support.database import play, unit_of_work
from tests.support.waiting import eventually
from tests.support.wire import Wire

pytestmark = pytest.mark.kafka

SKUS = [f"SKU-{number}" for number in range(12)]


@pytest.fixture
def relay_settings(kafka_settings: Settings) -> Settings:
    return kafka_settings.model_copy(update={"relay_lease": 1.0})


@pytest.fixture
def wire(relay_settings: Settings) -> Iterator[Wire]:
    reader = Wire(
        relay_settings.kafka_bootstrap_servers,
        relay_settings.kafka_inbound_topics[0],
        relay_settings.kafka_events_topic,
    )
    yield reader
    reader.close()


@pytest.fixture
async def service(relay_settings: Settings) -> AsyncIterator[Service]:
    async with bootstrap(relay_settings) as wired:
        yield wired


def story(sku: str, number: int) -> Sequence[Command]:
    """Commands that raise an event each: the product never runs out."""
    return (
        CreateBatch(ref=f"{sku}-{number}", sku=sku, qty=5),
        Allocate(order_id=f"order-{number}", sku=sku, qty=1),
        CancelAllocation(order_id=f"order-{number}", sku=sku),
        ChangeBatchQuantity(ref=f"{sku}-{number}", qty=4),
    )


async def play_stories(service: Service, numbers: Iterable[int]) -> None:
    for number in numbers:
        for step in zip(*(story(sku, number) for sku in SKUS), strict=True):
            await play(service.bus, *step)


async def test_each_sku_is_published_in_order_and_without_a_gap(service: Service, wire: Wire) -> None:
    async with components.running([components.relay(service)]):
        await play_stories(service, range(3))
        for sku in SKUS:
            published = await wire.events(sku, 12)
            assert [event.headers["ce_sequence"] for event in published] == [str(number) for number in range(1, 13)]
            assert {event.key for event in published} == {sku.encode()}
            assert [event.type for event in published[:4]] == [
                "batch_created.v1",
                "line_allocated.v1",
                "line_deallocated.v1",
                "batch_quantity_changed.v1",
            ]


async def test_several_relays_that_come_and_go_keep_the_order(
    service: Service, relay_settings: Settings, wire: Wire
) -> None:
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(bootstrap(relay_settings)) for _ in range(2)]
        async with components.running([components.relay(service), components.relay(others[0])]):
            await play_stories(service, range(2))
            async with components.running([components.relay(others[1])]):
                await play_stories(service, range(2, 4))
            await play_stories(service, range(4, 6))
            for sku in SKUS:
                await wire.events(sku, 24)


async def test_a_relay_that_vanishes_without_leaving_is_replaced(service: Service, wire: Wire) -> None:
    vanished = OutboxReader(service.cells.engine_of("CHAIR"), lease=1.0)
    assert len(await vanished.claim()) == 16
    await play(service.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=1))

    async with components.running([components.relay(service)]):
        (event,) = await wire.events("CHAIR", 1)

    assert event.type == "batch_created.v1"


async def test_an_event_that_is_sent_twice_is_the_same_event(service: Service, wire: Wire) -> None:
    """The relay crashes between the broker's acknowledgement and its own deletion of the rows."""

    class Forgetful(OutboxReader):
        forgot = 0

        async def delete(self, ids: Sequence[int]) -> None:
            if self.forgot < 2:
                self.forgot += 1
                raise ConnectionResetError("the database went away")
            await super().delete(ids)

    async def start_producer() -> object:
        await clients.create_topics(service.kafka, [service.settings.kafka_events_topic])
        return await clients.start_producer(service.kafka)

    await play(service.bus, *story("CHAIR", 1))
    reader = Forgetful(service.cells.engine_of("CHAIR"), lease=60)
    relay = Relays(
        [reader],
        service.signal,
        OutboxListener(service.settings.database_url.get_secret_value(), service.signal.received),
        start_producer,
        topic=service.settings.kafka_events_topic,
        source="/allocation",
        lease=60,
    )
    async with components.running([relay.run]):
        await play(service.bus, *story("CHAIR", 2))
        await wire.events("CHAIR", 8)

        async def some_came_again() -> bool:
            await wire.events("CHAIR", 8)
            return len(wire._seen) > 8

        await eventually(some_came_again)


@asynccontextmanager
async def slow_transaction(service: Service, sku: str) -> AsyncIterator[None]:
    """A unit of work that has written its events, and commits at the end of the block."""
    async with unit_of_work(service.engine) as uow:
        ref = f"batch-{sku}"
        await uow.products.load(LockSet(skus={sku}, batch_refs={ref}, batches_to_create={(ref, sku)}))
        uow.products.get_or_create(sku).create_batch(ref, 1, None)
        uow.collect_events()
        yield
        await uow.commit()


async def test_events_that_a_long_transaction_commits_late_are_published(service: Service, wire: Wire) -> None:
    async with components.running([components.relay(service)]):
        async with slow_transaction(service, "SLOW"):
            await play_stories(service, range(1))
            for sku in SKUS:
                await wire.events(sku, 4)
        await wire.events("SLOW", 1)


async def test_a_commit_is_published_before_the_next_poll(
    service: Service, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.entrypoints.kafka.relay.POLL_INTERVAL", 600.0)
    patient = service.settings.model_copy(update={"relay_lease": 3000.0})
    async with bootstrap(patient) as relaying, components.running([components.relay(relaying)]):
        await play(relaying.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=9))
        await wire.events("CHAIR", 1)
        # Committed by another process: only NOTIFY can wake the relay.
        await play(service.bus, Allocate(order_id="order-1", sku="CHAIR", qty=1))
        await wire.events("CHAIR", 2)
