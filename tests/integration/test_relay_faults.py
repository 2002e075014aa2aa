"""The relay over PostgreSQL, with a broker that can be made to fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka.errors import KafkaTimeoutError
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.outbox_signal import OutboxListener, OutboxSignal
from app.domain.commands import Allocate, CreateBatch
from app.entrypoints.kafka import relay as relay_module
from app.entrypoints.kafka.relays import Relays
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import Cause
from app.service_layer.requests import Request
from tests.support.cells import CELLS
from tests.support.database import play
from tests.support.records import FakeBroker
from tests.support.relaying import Outboxes
from tests.support.waiting import eventually

SKUS = [f"SKU-{number}" for number in range(6)]
LINES = 8


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "LONGEST_BACKOFF", 0.001)
    monkeypatch.setattr(relay_module, "FIRST_REFUSAL", 0.01)


@pytest.fixture
async def outbox(bus: MessageBus, engine: AsyncEngine) -> Outboxes:
    """Six SKUs with nine events each."""
    await play(bus, *(CreateBatch(ref=f"batch-{sku}", sku=sku, qty=99) for sku in SKUS))
    for number in range(LINES):
        await play(bus, *(Allocate(order_id=f"order-{number}", sku=sku, qty=1) for sku in SKUS))
    return Outboxes(engine)


@asynccontextmanager
async def relaying(
    broker: FakeBroker, engine: AsyncEngine, database_url: str, *, lease: float = 60
) -> AsyncIterator[None]:
    signal = OutboxSignal(engine)
    relay = Relays(
        Outboxes(engine, lease=lease).readers,
        signal,
        OutboxListener(database_url, signal.received),
        broker.start_producer,
        topic="events",
        source="/allocation",
        lease=lease,
    )
    task = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await signal.close()


async def published(outbox: Outboxes, also: Callable[[], bool] = lambda: True) -> None:
    async def is_empty() -> bool:
        return await outbox.pending() == 0 and also()

    await eventually(is_empty)


async def test_publishes_the_events_of_each_sku_in_order_and_deletes_their_rows(
    outbox: Outboxes, engine: AsyncEngine, database_url: str
) -> None:
    broker = FakeBroker()
    async with relaying(broker, engine, database_url):
        await published(outbox)

    for sku in SKUS:
        assert broker.sequences(sku) == list(range(1, LINES + 2))
    assert broker.stopped == broker.producers == 1


async def test_a_record_is_a_cloud_event(bus: MessageBus, engine: AsyncEngine, database_url: str) -> None:
    cause = Cause("message-1", "conversation-1", "00-abc-def-01")
    await bus.handle_group([Request(CreateBatch(ref="batch-1", sku="CHAIR", qty=5), cause)])
    await bus.handle_group([Request(Allocate(order_id="order-1", sku="NONE", qty=1), Cause("m", "c"))])
    broker = FakeBroker()
    async with relaying(broker, engine, database_url):
        await published(Outboxes(engine))

    records = {key: (value, headers) for log in broker.log.values() for key, value, headers in log}
    value, headers = records[b"CHAIR"]
    assert json.loads(value) == {"sku": "CHAIR", "ref": "batch-1", "qty": 5, "eta": None}
    assert len(headers.pop("ce_id")) == 36
    assert headers.pop("ce_time").endswith("Z")
    assert headers == {
        "ce_specversion": "1.0",
        "ce_type": "batch_created.v1",
        "ce_source": "/allocation",
        "ce_subject": "CHAIR",
        "ce_sequence": "1",
        "ce_correlationid": "conversation-1",
        "ce_causationid": "message-1",
        "content-type": "application/json",
        "traceparent": "00-abc-def-01",
        "ce_traceparent": "00-abc-def-01",
    }
    assert {"ce_sequence", "traceparent", "ce_traceparent"}.isdisjoint(records[b"NONE"][1])


@pytest.mark.parametrize("failing_sends", [[0], [1], [3], [0, 1, 2, 5], [3, 4]])
async def test_a_send_that_fails_keeps_its_rows_for_a_new_producer_that_sends_them_in_order(
    outbox: Outboxes, engine: AsyncEngine, database_url: str, failing_sends: list[int]
) -> None:
    broker = FakeBroker()
    broker.faults = [KafkaTimeoutError() if send in failing_sends else None for send in range(6)]
    async with relaying(broker, engine, database_url):
        await published(outbox)

    for sku in SKUS:
        assert broker.sequences(sku) == list(range(1, LINES + 2))
    assert broker.producers >= 2
    assert broker.stopped == broker.producers


async def test_a_batch_whose_acknowledgement_is_lost_is_sent_again_unchanged(
    outbox: Outboxes, engine: AsyncEngine, database_url: str
) -> None:
    broker = FakeBroker()
    lost = 0

    async def start_producer() -> object:
        producer = await FakeBroker.start_producer(broker)
        send = producer.send_batch

        async def send_batch(batch: object, topic: str, *, partition: int) -> object:
            nonlocal lost
            acknowledged = await send(batch, topic, partition=partition)  # type: ignore[arg-type]
            if lost < 4:
                lost += 1
                failed: asyncio.Future[object] = asyncio.get_running_loop().create_future()
                failed.set_exception(KafkaTimeoutError())
                return failed
            return acknowledged

        producer.send_batch = send_batch  # type: ignore[method-assign, assignment]
        return producer

    broker.start_producer = start_producer  # type: ignore[method-assign, assignment]
    async with relaying(broker, engine, database_url):
        await published(outbox)

    repeats = 0
    for sku in SKUS:
        sequences, ids = broker.sequences(sku), broker.ids(sku)
        repeats += len(ids) - len(set(ids))
        assert len(set(zip(sequences, ids, strict=True))) == len(set(ids)) == LINES + 1
        assert list(dict.fromkeys(sequences)) == list(range(1, LINES + 2))
    assert repeats


async def test_a_partition_that_refuses_delays_no_other_and_loses_nothing(
    outbox: Outboxes, bus: MessageBus, engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "READ_LIMIT", 5)  # So few that those of the refusing partition fill a page.
    broker = FakeBroker()
    broker.refusing = {1}
    async with relaying(broker, engine, database_url):
        await play(bus, *(Allocate(order_id="late", sku=sku, qty=1) for sku in SKUS))

        async def others_are_through() -> bool:
            waiting = {row.subject for row in await outbox.rows()}
            return waiting != set(SKUS) and all(broker.sequences(sku) == [] for sku in waiting)

        await eventually(others_are_through)
        broker.refusing = set()
        await published(outbox)

    for sku in SKUS:
        assert broker.sequences(sku) == list(range(1, LINES + 3))


async def test_starts_without_the_broker_and_publishes_once_it_is_there(
    outbox: Outboxes, engine: AsyncEngine, database_url: str
) -> None:
    broker = FakeBroker()
    attempts = 0
    start = broker.start_producer

    async def start_producer() -> object:
        nonlocal attempts
        attempts += 1
        if attempts <= 3:
            raise KafkaTimeoutError
        return await start()

    broker.start_producer = start_producer  # type: ignore[method-assign, assignment]
    async with relaying(broker, engine, database_url):
        await published(outbox)

    assert broker.sequences(SKUS[0]) == list(range(1, LINES + 2))


async def test_several_relays_at_once_publish_each_event_once(
    outbox: Outboxes, bus: MessageBus, engine: AsyncEngine, database_url: str
) -> None:
    broker = FakeBroker()
    async with (
        relaying(broker, engine, database_url, lease=0.6),
        relaying(broker, engine, database_url, lease=0.6),
        relaying(broker, engine, database_url, lease=0.6),
    ):
        for number in range(10):
            await play(bus, *(Allocate(order_id=f"more-{number}", sku=sku, qty=1) for sku in SKUS))
        await published(outbox)

    for sku in SKUS:
        assert list(dict.fromkeys(broker.sequences(sku))) == list(range(1, LINES + 12))


async def test_a_relay_without_shards_reports_that(
    outbox: Outboxes, engine: AsyncEngine, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    lease = 0.3 * CELLS.number  # The claims of all holders in all cells have to end within it.
    holders = [Outboxes(engine, lease=lease) for _ in range(16)]

    async def is_said() -> bool:
        await asyncio.gather(*(holder.claim() for holder in holders))
        return (
            "no lease on a shard of the outbox" in caplog.text
            and REGISTRY.get_sample_value("allocation_relay_leased_shards") == 0
        )

    for _ in range(3):
        for holder in holders:
            await holder.claim()
    async with relaying(FakeBroker(), engine, database_url, lease=lease):
        await eventually(is_said)


async def test_releases_its_shards_when_it_stops(outbox: Outboxes, engine: AsyncEngine, database_url: str) -> None:
    async with relaying(FakeBroker(), engine, database_url):
        await published(outbox)

    assert len(await Outboxes(engine).claim()) == 16 * CELLS.number
