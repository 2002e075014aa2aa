"""The ids of events: drawn in blocks, under the locks, so that for one subject their order is that of the commits."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql import event_ids
from app.adapters.postgresql.connections import DriverConnections
from app.domain.commands import Allocate, CreateBatch
from app.integration.outbound import OutboundMessage
from app.service_layer.lock_sets import LockSet
from app.service_layer.messagebus import MessageBus
from tests.support.backends import CAUSE
from tests.support.cells import one_cell_only
from tests.support.database import raw_connection, results, unit_of_work, waiting_for_a_lock

IDS = "SELECT id, subject, sequence FROM events ORDER BY id"
LOCKS = """
    SELECT DISTINCT relation::regclass::text FROM pg_locks
    WHERE mode = 'RowExclusiveLock' AND relation IN ('events'::regclass, 'events_id_seq'::regclass)
"""


def chairs() -> LockSet:
    locks = LockSet()
    locks.skus.add("CHAIR")
    return locks


@one_cell_only("the relays of several cells look at no locks")
async def test_a_transaction_that_has_drawn_ids_holds_the_locks_that_the_relay_looks_at(
    bus: MessageBus, engine: AsyncEngine, database_url: str
) -> None:
    await results(bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=10))
    connections = DriverConnections(engine, keep=1)
    async with raw_connection(database_url, cell_of="CHAIR") as other:
        for _ in range(8):  # The plan of the statement is made, then used again.
            async with unit_of_work(connections) as uow:
                assert [row[0] for row in await other.fetch(LOCKS)] == []
                await uow.products.load(chairs())
                assert {row[0] for row in await other.fetch(LOCKS)} == {"events", "events_id_seq"}
    await connections.close()


@one_cell_only("with several, ids are not those of the sequence, from which the inserted row has its own")
async def test_a_block_is_drawn_after_the_wait_for_a_lock(
    bus: MessageBus, engine: AsyncEngine, database_url: str
) -> None:
    await results(bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=10))
    async with raw_connection(database_url, cell_of="CHAIR") as other:
        async with other.transaction():
            await other.execute("UPDATE products SET sequence = 2 WHERE sku = 'CHAIR'")
            waiting = asyncio.create_task(results(bus, Allocate(order_id="order-1", sku="CHAIR", qty=1)))
            await waiting_for_a_lock(database_url)
            await other.execute(
                "INSERT INTO events (shard, subject, sequence, type, data, correlation_id, causation_id)"
                " VALUES (0, 'CHAIR', 2, 'out_of_stock.v1', '{}', 'c', 'c')"
            )
        await waiting

        assert [row["sequence"] for row in await other.fetch(IDS)] == [1, 2, 3]


async def test_events_that_are_more_than_a_block_get_ascending_ids_of_several(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_ids, "BLOCK", 3)
    async with unit_of_work(engine) as uow:
        for number in range(1, 8):
            uow.outbox.add(OutboundMessage("out_of_stock.v1", "CHAIR", number, "{}"), CAUSE)
        await uow.commit()

    async with raw_connection(database_url, cell_of="CHAIR") as other:
        rows = await other.fetch(IDS)
        assert [row["sequence"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
        assert [row["id"] - rows[number // 3 * 3]["id"] for number, row in enumerate(rows)] == [0, 1, 2, 0, 1, 2, 0]
        assert {row["id"] for row in await other.fetch("SELECT id FROM outbox")} == {row["id"] for row in rows}


@one_cell_only("the release before knows no cells")
async def test_ids_of_the_release_before_and_of_this_one_have_the_order_of_the_commits(
    bus: MessageBus, database_url: str
) -> None:
    async with raw_connection(database_url, cell_of="CHAIR") as old:
        await results(bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=10))
        for number in range(2, 8, 2):
            async with old.transaction():
                await old.execute("UPDATE products SET sequence = $1 WHERE sku = 'CHAIR'", number)
                await old.execute(
                    "INSERT INTO events (shard, subject, sequence, type, data, correlation_id, causation_id)"
                    " VALUES (0, 'CHAIR', $1, 'out_of_stock.v1', '{}', 'c', 'c')",
                    number,
                )
            await results(bus, Allocate(order_id=f"order-{number}", sku="CHAIR", qty=1))

        assert [row["sequence"] for row in await old.fetch(IDS)] == [1, 2, 3, 4, 5, 6, 7]
