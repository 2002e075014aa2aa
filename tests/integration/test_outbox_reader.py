"""How relays read the outbox: which relay has which shards, and which rows it reads."""

import asyncio
import uuid
from collections import Counter

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.messages import SHARDS, shard_of
from app.adapters.postgresql.outbox_reader import OutboxReader
from app.adapters.postgresql.outbox_signal import OutboxListener, OutboxSignal
from app.domain.commands import Allocate, CreateBatch
from app.integration.outbound import OutboundMessage
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import Cause
from tests.support.cells import cells_of, in_one_cell, one_cell_only
from tests.support.database import play, raw_connection, unit_of_work
from tests.support.waiting import eventually

ALL = list(range(SHARDS))
SKUS = in_one_cell("SKU", 20)


@pytest.fixture
def cell(engine: AsyncEngine) -> AsyncEngine:
    """The engine of the cell of the SKUs."""
    return cells_of(engine).engine_of(SKUS[0])


async def claimed(*relays: OutboxReader, rounds: int = 3) -> list[list[int]]:
    """The shards of each relay after some rounds of claiming."""
    shards: list[list[int]] = []
    for _ in range(rounds):
        shards = [await relay.claim() for relay in relays]
    return shards


@pytest.mark.parametrize("number", [1, 2, 3, 5, 16])
async def test_relays_share_all_shards_evenly(cell: AsyncEngine, number: int) -> None:
    relays = [OutboxReader(cell, lease=60) for _ in range(number)]

    shares = await claimed(*relays)

    assert sorted(shard for share in shares for shard in share) == ALL
    assert max(len(share) for share in shares) == -(-SHARDS // number)


async def test_a_relay_beyond_the_number_of_shards_waits_in_reserve(cell: AsyncEngine) -> None:
    relays = [OutboxReader(cell, lease=60) for _ in range(SHARDS + 1)]

    shares = await claimed(*relays)

    assert Counter(len(share) for share in shares) == {1: SHARDS, 0: 1}


async def test_no_shard_has_two_relays_while_they_come_and_go(cell: AsyncEngine) -> None:
    relays = [OutboxReader(cell, lease=60) for _ in range(4)]
    counts = Counter[int]()
    for at_work in (1, 2, 4, 3, 4, 1):
        for relay in relays[at_work:]:
            await relay.leave()
        for _ in range(3):
            shares = await asyncio.gather(*(relay.claim() for relay in relays[:at_work]))
            counts = Counter(shard for share in shares for shard in share)
            assert set(counts.values()) <= {1}
        assert sorted(counts) == ALL


async def test_a_relay_that_leaves_gives_its_shards_back_at_once(cell: AsyncEngine) -> None:
    leaving, staying = OutboxReader(cell, lease=60), OutboxReader(cell, lease=60)
    await claimed(leaving, staying)

    await leaving.leave()

    assert sorted(await staying.claim()) == ALL


async def test_a_relay_that_vanishes_is_replaced_after_its_lease(cell: AsyncEngine) -> None:
    vanished, successor = OutboxReader(cell, lease=0.4), OutboxReader(cell, lease=0.4)
    assert sorted(await vanished.claim()) == ALL
    assert await successor.claim() == []

    async def has_taken_over() -> bool:
        return sorted(await successor.claim()) == ALL

    await eventually(has_taken_over)


async def test_a_relay_does_not_wait_for_one_that_renews_an_expired_membership(
    cell: AsyncEngine, database_url: str
) -> None:
    """Two relays that were late at once would wait for each other's rows, in a deadlock."""
    late, other = OutboxReader(cell, lease=60), OutboxReader(cell, lease=60)
    await late.claim()
    async with raw_connection(database_url) as connection:
        await connection.execute("UPDATE relay_members SET alive_until = '-infinity'")
        async with connection.transaction(), asyncio.timeout(2):
            await connection.execute("UPDATE relay_members SET alive_until = 'infinity'")

            await other.claim()


@pytest.mark.parametrize("ahead", ["1 day", "1000 years"])
async def test_a_lease_from_before_the_clock_was_set_back_has_run_out(
    cell: AsyncEngine, ahead: str, caplog: pytest.LogCaptureFixture
) -> None:
    vanished, successor = OutboxReader(cell, lease=5), OutboxReader(cell, lease=5)
    await vanished.claim()
    async with cell.begin() as connection:
        await connection.exec_driver_sql(f"UPDATE relay_shards SET leased_until = now() + interval '{ahead}'")
        await connection.exec_driver_sql(f"UPDATE relay_members SET alive_until = now() + interval '{ahead}'")

    assert sorted(await successor.claim()) == ALL
    assert "leases of 16 shards end too late" in caplog.text


async def test_a_relay_that_works_while_the_clock_is_set_back_keeps_its_shards(cell: AsyncEngine) -> None:
    working, other = OutboxReader(cell, lease=60), OutboxReader(cell, lease=60)
    (shards, _) = await claimed(working, other)
    async with cell.begin() as connection:
        await connection.exec_driver_sql("UPDATE relay_shards SET leased_until = leased_until + interval '1 hour'")
        await connection.exec_driver_sql("UPDATE relay_members SET alive_until = alive_until + interval '1 hour'")

    assert sorted(await working.claim())[: len(shards)] == sorted(shards)
    assert sorted(shard for share in await claimed(working, other) for shard in share) == ALL


async def test_a_relay_that_renews_in_time_keeps_its_shards(cell: AsyncEngine) -> None:
    busy, idle = OutboxReader(cell, lease=60), OutboxReader(cell, lease=60)
    before = await claimed(busy, idle)

    assert await claimed(busy, idle, rounds=5) == before


def row(sku: str, sequence: int) -> OutboundMessage:
    return OutboundMessage("out_of_stock.v1", sku, sequence, "{}")


@one_cell_only("several cells read rows by subject and sequence")
async def test_rows_are_read_oldest_first_and_only_those_of_the_shards(bus: MessageBus, cell: AsyncEngine) -> None:
    reader = OutboxReader(cell, lease=60)
    await play(bus, *(CreateBatch(ref=f"batch-{sku}", sku=sku, qty=1) for sku in SKUS))
    await play(bus, *(Allocate(order_id="order-1", sku=sku, qty=1) for sku in reversed(SKUS)))

    everything = (await reader.read(ALL, 1000)).rows
    assert [row.id for row in everything] == sorted(row.id for row in everything)
    assert [row.type for row in everything] == ["batch_created.v1"] * 20 + ["line_allocated.v1"] * 20
    some = (await reader.read([3, 4], 1000)).rows
    assert some == [row for row in everything if shard_of(row.subject) in {3, 4}]
    assert (await reader.read(ALL, 7)).rows == everything[:7]

    await reader.delete([row.id for row in everything[:7]])
    assert (await reader.read(ALL, 1000)).rows == everything[7:]
    assert await reader.pending() == 33


async def test_rows_that_a_long_transaction_commits_late_are_not_missed(cell: AsyncEngine) -> None:
    reader = OutboxReader(cell, lease=60)
    cause = Cause("1", "1")
    slow_sku, quick_sku = SKUS[:2]
    async with cell.connect() as slow:
        # The slow transaction draws its id first; the quick one commits, is published and deleted before it.
        await slow.execute(
            text(
                "WITH event AS (INSERT INTO events"
                " (shard, subject, sequence, message_id, type, data, correlation_id, causation_id)"
                " VALUES (:shard, :sku, 1, :id, 'out_of_stock.v1', '{}', '1', '1') RETURNING id, shard)"
                " INSERT INTO outbox (id, shard) SELECT id, shard FROM event"
            ),
            {"shard": shard_of(slow_sku), "sku": slow_sku, "id": uuid.uuid4()},
        )
        async with unit_of_work(cell) as quick:
            quick.outbox.add(row(quick_sku, 1), cause)
            await quick.commit()
        published = (await reader.read(ALL, 100)).rows
        assert [row.subject for row in published] == [quick_sku]
        await reader.delete([row.id for row in published])
        await slow.commit()

    assert [row.subject for row in (await reader.read(ALL, 100)).rows] == [slow_sku]


async def test_a_commit_wakes_relays_in_other_processes(cell: AsyncEngine, database_url: str) -> None:
    heard = asyncio.Event()
    signal = OutboxSignal(cell, interval=0)
    async with OutboxListener(database_url, heard.set) as listener:
        await listener.ensure()
        signal()
        await asyncio.wait_for(heard.wait(), timeout=60)
    await signal.close()


async def test_a_listener_that_lost_its_connection_connects_again(cell: AsyncEngine, database_url: str) -> None:
    heard = asyncio.Event()
    signal = OutboxSignal(cell, interval=0)
    async with OutboxListener(database_url, heard.set) as listener:
        await listener.ensure()
        async with raw_connection(database_url) as other:
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
                " AND datname = current_database() AND pid <> pg_backend_pid()"
            )

        async def hears() -> bool:
            await listener.ensure()
            signal()
            return heard.is_set()

        await eventually(hears)
    await signal.close()


async def test_a_signal_from_this_process_wakes_its_relays_and_silence_ends_with_the_timeout(
    cell: AsyncEngine,
) -> None:
    signal = OutboxSignal(cell)
    wakes = [signal.new_wake(), signal.new_wake()]
    signal()
    async with asyncio.timeout(30):
        for wake in wakes:
            await wake.wait(60)
            await wake.wait(0.01)
    await signal.close()
