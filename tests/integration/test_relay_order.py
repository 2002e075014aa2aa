"""Events of a SKU keep their order, whatever is committed late or refused while the relay reads several pages."""

import asyncio
import random

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql import outbox_reader as outbox_module
from app.adapters.postgresql.connections import create_engine
from app.entrypoints.kafka import relay as relay_module
from tests.support.cells import cells_of, in_one_cell
from tests.support.records import FakeBroker
from tests.support.relaying import EVENTS, arguments, relaying, skus_of_partition, write
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "POLL_INTERVAL", 0.02)
    monkeypatch.setattr(relay_module, "LONGEST_BACKOFF", 0.001)
    monkeypatch.setattr(outbox_module, "HORIZON_INTERVAL", 0.02)


async def test_order_and_completeness_hold_under_random_faults(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late commits, rollbacks, partitions that refuse and recover, sends that fail, pages of seven rows."""
    monkeypatch.setattr(relay_module, "READ_LIMIT", 7)
    monkeypatch.setattr(relay_module, "FIRST_REFUSAL", 0.002)
    monkeypatch.setattr(relay_module, "LONGEST_REFUSAL", 0.02)
    monkeypatch.setattr(relay_module, "LOOK_BACK_INTERVAL", 600.0)
    monkeypatch.setattr(outbox_module, "HORIZON_INTERVAL", 0.0)
    chance, broker, skus = random.Random(24), FakeBroker(), in_one_cell("SKU", 12)
    written, pool = dict.fromkeys(skus, 0), create_engine(database_url, pool_size=len(skus) + 2)

    async def trade(sku: str) -> None:
        for _ in range(25):
            async with cells_of(pool).engine_of(sku).connect() as connection:
                number = chance.randint(1, 4)
                await connection.execute(text(EVENTS), arguments(sku, written[sku] + 1, written[sku] + number))
                await asyncio.sleep(chance.choice([0, 0, 0, 0.01, 0.15]))  # The duration of the transaction.
                if chance.random() < 0.1:
                    await connection.rollback()
                else:
                    await connection.commit()
                    written[sku] += number

    async def disturb() -> None:
        while True:
            broker.refusing = {number for number in range(3) if chance.random() < 0.4}
            await asyncio.sleep(chance.choice([0.01, 0.05, 0.2]))

    async with relaying(broker, pool, database_url) as reader:
        disturbing = asyncio.create_task(disturb())
        await asyncio.gather(*(trade(sku) for sku in skus))
        disturbing.cancel()
        broker.refusing = set()

        async def is_empty() -> bool:
            return await reader.pending() == 0

        await eventually(is_empty)
    await pool.dispose()
    for sku in skus:
        assert list(dict.fromkeys(broker.sequences(sku))) == list(range(1, written[sku] + 1))


async def test_events_that_are_committed_between_two_pages_keep_their_order(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is committed late: its id is before the boundary of the pages, that of the second one is behind it."""
    monkeypatch.setattr(relay_module, "READ_LIMIT", 2)
    monkeypatch.setattr(relay_module, "FIRST_REFUSAL", 600.0)
    broker = FakeBroker()
    broker.refusing = {1}
    (refused,), (healthy,) = skus_of_partition(broker, 1, 1), skus_of_partition(broker, 2, 1)
    async with (
        relaying(broker, engine, database_url, cell_of=healthy) as reader,
        cells_of(engine).engine_of(healthy).connect() as late,
    ):
        await late.execute(text(EVENTS), arguments(healthy, 1, 1))
        await write(engine, refused, 1, 5)

        async def commit() -> None:
            await late.commit()
            await write(engine, healthy, 2)

        reader.between_pages = commit

        async def are_published() -> bool:
            return len(broker.sequences(healthy)) == 2

        await eventually(are_published)

    assert broker.sequences(healthy) == [1, 2]
