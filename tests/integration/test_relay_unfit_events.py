"""Events that the broker refuses for their content: only later events of the same SKU wait."""

import asyncio
import logging
import random

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql import outbox_reader as outbox_module
from app.entrypoints.kafka import relay as relay_module
from tests.support.cells import cells_of, in_one_cell
from tests.support.records import FakeBroker
from tests.support.relaying import EVENTS, arguments, relaying, write
from tests.support.waiting import eventually

LARGE = "UPDATE events SET data = repeat('x', 1000) WHERE subject = :sku AND sequence = :first"
SKUS = in_one_cell("SKU", 12)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "POLL_INTERVAL", 0.02)
    monkeypatch.setattr(relay_module, "LONGEST_BACKOFF", 0.001)
    monkeypatch.setattr(relay_module, "FIRST_REFUSAL", 0.01)
    monkeypatch.setattr(relay_module, "LONGEST_REFUSAL", 0.05)
    monkeypatch.setattr(outbox_module, "HORIZON_INTERVAL", 0.02)


@pytest.fixture
def broker() -> FakeBroker:
    broker = FakeBroker()
    broker.batch_records = 100
    broker.largest = 900
    return broker


async def write_large(engine: AsyncEngine, sku: str, sequence: int) -> None:
    async with cells_of(engine).engine_of(sku).begin() as connection:
        await connection.execute(text(EVENTS), arguments(sku, sequence, sequence))
        await connection.execute(text(LARGE), {"sku": sku, "first": sequence})


def refused_subjects() -> float | None:
    return REGISTRY.get_sample_value("allocation_outbox_refused_subjects")


async def test_an_event_that_is_too_large_delays_only_its_sku(
    engine: AsyncEngine, database_url: str, broker: FakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    large, others = SKUS[0], SKUS[1:]

    async def others_are_published() -> bool:
        return all(broker.sequences(sku) == list(range(1, last + 1)) for sku in others)

    async def is_empty() -> bool:
        return await reader.pending() == 0 and refused_subjects() == 0

    for sku in SKUS:
        await write(engine, sku, 1, 2)
    await write_large(engine, large, 3)
    for sku in SKUS:
        await write(engine, sku, 4 if sku == large else 3, 5)
    last = 5
    with caplog.at_level(logging.ERROR):
        async with relaying(broker, engine, database_url) as reader:
            await eventually(others_are_published)
            # Also those that are committed while it waits.
            for last in range(6, 20):
                await asyncio.gather(*(write(engine, sku, last) for sku in SKUS))
                await eventually(others_are_published)
            assert broker.sequences(large) == [1, 2]
            assert refused_subjects() == 1
            assert f"of {large} is refused" in caplog.text
            assert not any(sku in caplog.text.split() for sku in others)
            broker.largest = 2**31
            await eventually(is_empty)

    assert broker.sequences(large) == list(range(1, last + 1))


async def test_batches_that_are_too_large_for_the_topic_are_made_smaller(
    engine: AsyncEngine, database_url: str, broker: FakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.largest = 11  # bytes, so five of the events
    for sku in SKUS:
        await write(engine, sku, 1, 20)

    async def is_empty() -> bool:
        return await reader.pending() == 0

    with caplog.at_level(logging.ERROR):
        async with relaying(broker, engine, database_url) as reader:
            await eventually(is_empty)

    assert not caplog.records
    for sku in SKUS:
        assert broker.sequences(sku) == list(range(1, 21))


@pytest.mark.parametrize("seed", range(2))
async def test_any_mixture_of_refusals_keeps_the_order_of_each_sku(
    engine: AsyncEngine,
    database_url: str,
    broker: FakeBroker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    seed: int,
) -> None:
    """Large events of several SKUs, partitions that refuse meanwhile, lost producers, and small pages."""
    monkeypatch.setattr(relay_module, "READ_LIMIT", 20)
    monkeypatch.setattr(relay_module, "LOOK_BACK_INTERVAL", 0.05)
    chance = random.Random(seed)

    async def is_empty() -> bool:
        return await reader.pending() == 0

    async with relaying(broker, engine, database_url) as reader:
        for number in range(1, 40):
            for sku in SKUS:
                await (write_large if chance.random() < 0.02 else write)(engine, sku, number)
            broker.refusing = {partition for partition in broker.partitions if chance.random() < 0.2}
            broker.largest = chance.choice([900, 900, 900, 2**31])
            if chance.random() < 0.1:
                broker.faults = [RuntimeError("the producer is lost")]
        broker.refusing, broker.largest = set(), 2**31
        await eventually(is_empty)

    assert "before the position" not in caplog.text
    for sku in SKUS:
        assert list(dict.fromkeys(broker.sequences(sku))) == list(range(1, 40))
