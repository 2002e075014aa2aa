"""The cost of a group: as many statements as one command, and look-ups by key whatever the size of the tables."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import create_engine
from app.domain.commands import (
    Allocate,
    CancelAllocation,
    ChangeBatchQuantity,
    Command,
    CountBatch,
    CountProduct,
    CreateBatch,
    OrderedLine,
    PlaceOrder,
    ShipLine,
)
from app.read_model.queries import Queries
from app.service_layer.messagebus import MessageBus
from app.service_layer.requests import Request
from tests.support.cells import one_cell_only, queries_over
from tests.support.database import CAUSE, bus_over, labels, play, raw_connection, statements
from tests.support.messages import received

LINES = 30_000
GATHER = f"""
    UPDATE products SET sequence = sequence + {LINES}, backordered_qty = {LINES // 2 * 50} WHERE sku = 'CHAIR';
    UPDATE batches SET qty = qty + {LINES // 2}, allocated_qty = allocated_qty + {LINES // 2} WHERE ref = 'chairs';
    INSERT INTO order_lines (order_id, sku, qty, requested, batch_number, allocated)
        SELECT 'held-' || n, 'CHAIR', 1, n + 1, (SELECT number FROM batches WHERE ref = 'chairs'), n + 1
        FROM generate_series(1, {LINES // 2}) n;
    INSERT INTO order_lines (order_id, sku, qty, requested)
        SELECT 'waiting-' || n, 'CHAIR', 50, n + {LINES // 2} FROM generate_series(1, {LINES // 2}) n;
    INSERT INTO products (sku, sequence) SELECT 'OTHER-' || n, 1 FROM generate_series(1, 3000) n;
    INSERT INTO batches (sku, number, ref, qty, first_qty)
        SELECT 'OTHER-' || n, 1, 'other-' || n, 5, 5 FROM generate_series(1, 3000) n;
    INSERT INTO inbox (message_id) SELECT 'message-' || n FROM generate_series(1, {LINES}) n;
"""
SHIPPED_BATCHES = """
    INSERT INTO batches (sku, number, ref, qty, first_qty, shipped_qty)
        SELECT 'CHAIR', n + 100, 'shipped-' || n, 1, 1, 1 FROM generate_series(1, 10000) n;
    INSERT INTO order_lines (order_id, sku, qty, requested, batch_number, allocated, shipped)
        SELECT 'gone-' || n, 'CHAIR', 1, n + 100, n + 100, n + 100, n + 100 FROM generate_series(1, 10000) n;
    UPDATE products SET sequence = sequence + 20000 WHERE sku = 'CHAIR';
"""
SCANS = "SELECT relname, sum(seq_scan) AS seq_scan FROM pg_stat_user_tables GROUP BY relname ORDER BY relname"

ENTRIES = "SELECT indexrelname, sum(idx_tup_read) AS idx_tup_read FROM pg_stat_user_indexes GROUP BY indexrelname"


@pytest.fixture
async def one_connection(database_url: str) -> AsyncIterator[AsyncEngine]:
    """A pool of one, so that every statement runs on the connection that has planned it already."""
    engine = create_engine(database_url, pool_size=1)
    yield engine
    await engine.dispose()


def batches(number: int, start: int = 0) -> list[Command]:
    return [CreateBatch(ref=f"batch-{n}", sku=f"SKU-{n % 20}", qty=50) for n in range(start, start + number)]


def lines(number: int, start: int = 0) -> list[Command]:
    return [Allocate(order_id=f"order-{n}", sku=f"SKU-{n % 20}", qty=1) for n in range(start, start + number)]


def cancellations(number: int, start: int = 0) -> list[Command]:
    return [CancelAllocation(order_id=f"order-{n}", sku=f"SKU-{n % 20}") for n in range(start, start + number)]


@one_cell_only("with several, each ref of a new batch is a statement of its own")
async def test_the_number_of_statements_does_not_depend_on_the_size_of_the_group(
    one_connection: AsyncEngine,
) -> None:
    bus = bus_over(one_connection)
    await play(bus, *batches(20))
    costs: dict[int, list[int]] = {}
    for start, size in ((100, 1), (200, 20), (300, 200)):
        costs[size] = []
        for group in (batches(size, start * 10), lines(size, start), cancellations(size, start), lines(size, start)):
            async with statements(one_connection) as executed:
                assert set(labels(await play(bus, *group))) == {"ok"}
            costs[size].append(len(executed))

    assert costs[1] == costs[20] == costs[200]


@one_cell_only("the commands and messages of a group are in several cells")
async def test_messages_and_refusals_cost_no_more(one_connection: AsyncEngine) -> None:
    bus = bus_over(one_connection)
    await play(bus, *batches(20))
    costs = []
    # The driver looks up the types of an array and of an inbox row at their first use on a connection.
    await bus.handle_group([Request(CreateBatch(ref="batch-0", sku="SKU-0", qty=50), CAUSE, received("first"))])
    await bus.handle_group([Request(lines(1, 5000)[0], CAUSE, received("first"))])
    for start, size in ((0, 2), (1000, 200)):
        commands = [*lines(size, start), Allocate(order_id="order-1", sku="NONE", qty=1), *lines(size, start)]
        requests = [Request(command, CAUSE, received(f"message-{start}-{n}")) for n, command in enumerate(commands)]
        for _ in range(2):
            async with statements(one_connection) as executed:
                await bus.handle_group(requests)
            costs.append(len(executed))

    fresh, again, many_fresh, many_again = costs
    assert (fresh, again) == (many_fresh, many_again)
    assert again < fresh


async def test_a_cut_costs_what_it_moves_not_what_the_batch_holds(one_connection: AsyncEngine) -> None:
    bus = bus_over(one_connection)
    await play(bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=1000))
    await play(bus, *(Allocate(order_id=f"order-{n}", sku="CHAIR", qty=10) for n in range(100)))

    async with statements(one_connection) as executed:
        (outcome,) = await play(bus, ChangeBatchQuantity(ref="batch-1", qty=500))
    wide = len(executed)
    async with statements(one_connection) as executed:
        await play(bus, ChangeBatchQuantity(ref="batch-1", qty=490))

    assert len(outcome.unwrap().moved) == 50
    assert len(executed) == wide


async def test_a_count_of_a_product_reads_no_batch_that_was_shipped_completely(
    one_connection: AsyncEngine, database_url: str
) -> None:
    bus = bus_over(one_connection)
    async with raw_connection(database_url, cell_of="CHAIR") as admin:
        await leave_alone(admin)
        await play(bus, *(CreateBatch(ref=f"held-{n}", sku="CHAIR", qty=10) for n in range(5)))
        await play(bus, *(Allocate(order_id=f"order-{n}", sku="CHAIR", qty=10) for n in range(5)))
        await admin.execute(SHIPPED_BATCHES)
        await play(bus, CountProduct(sku="CHAIR", on_hand_qty=50))
        before = await entries(one_connection)
        async with statements(one_connection) as executed:
            (outcome,) = await play(bus, CountProduct(sku="CHAIR", on_hand_qty=40))
        read = {index: count - before[index] for index, count in (await entries(one_connection)).items()}

    assert [line.from_batch_ref for line in outcome.unwrap().moved] == ["held-4"]
    assert max(read.values()) < 50, read
    assert len(executed) < 12


async def test_no_statement_scans_a_table_that_has_grown_since_it_was_planned(
    one_connection: AsyncEngine, database_url: str
) -> None:
    """The service starts on empty tables without statistics; plans made then must suit large tables as well."""
    bus, queries = bus_over(one_connection), queries_over(one_connection)
    async with raw_connection(database_url, cell_of="CHAIR") as admin:
        await leave_alone(admin)
        # asyncpg prepares each statement when it first sees it; PostgreSQL settles on a plan after five runs.
        await play(bus, CreateBatch(ref="chairs", sku="CHAIR", qty=50))
        for number in range(8):
            await everything(bus, queries, f"before-{number}")
        await admin.execute(GATHER)
        before = await scans(one_connection)
        for number in range(3):
            await everything(bus, queries, f"after-{number}")
        after = await scans(one_connection)

    assert after == before


@one_cell_only("its many products are filled in by a statement, which knows no cells")
@pytest.mark.parametrize("known", [True, False], ids=["analysed", "not-analysed"])
async def test_no_statement_scans_a_table_that_was_large_when_it_was_planned(
    one_connection: AsyncEngine, database_url: str, *, known: bool
) -> None:
    """Reading a whole table can seem cheaper than a hundred look-ups, especially without statistics.

    A table that was imported or restored a moment ago has no statistics.
    """
    bus, queries = bus_over(one_connection), queries_over(one_connection)
    async with raw_connection(database_url, cell_of="CHAIR") as admin:
        await leave_alone(admin)
        await play(bus, CreateBatch(ref="chairs", sku="CHAIR", qty=50))
        await admin.execute(GATHER)
        if known:
            await admin.execute("ANALYZE")
        before, entries_before = await scans(one_connection), await entries(one_connection)
        for number in range(8):
            await everything(bus, queries, f"after-{number}")
            await much_at_once(bus, queries, f"many-{number}")
        after, entries_after = await scans(one_connection), await entries(one_connection)

    assert after == before
    # A join that reads a whole table through its index does not count as a scan, but costs as much.
    read = {index: entries_after[index] - count for index, count in entries_before.items()}
    assert max(read.values()) < 8 * 2000, read


async def leave_alone(admin: asyncpg.Connection) -> None:
    """Keep PostgreSQL from gathering statistics."""
    for table in ("products", "batches", "order_lines", "orders", "inbox", "outbox", "events"):
        await admin.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")


async def much_at_once(bus: MessageBus, queries: Queries, name: str) -> None:
    """The most used statements, for a hundred SKUs and orders at a time."""
    skus = [f"OTHER-{number}" for number in range(1, 101)]
    groups: list[list[Command]] = [
        [Allocate(order_id=name, sku=sku, qty=1) for sku in skus],
        [ShipLine(order_id=name, sku=sku) for sku in skus[:50]],
        [CancelAllocation(order_id=name, sku=sku) for sku in skus[50:]],
        [ChangeBatchQuantity(ref=f"other-{number}", qty=1000) for number in range(1, 101)],
        [CountProduct(sku=sku, on_hand_qty=990) for sku in skus],
        [PlaceOrder(order_id=f"{name}-order", lines=[OrderedLine(sku=sku, qty=1) for sku in skus])],
        [Allocate(order_id=f"{name}-{sku}", sku=sku, qty=1) for sku in skus],
    ]
    for group in groups:
        for outcome in await play(bus, *group):
            outcome.unwrap()
    await asyncio.gather(*(queries.allocations(f"{name}-{sku}") for sku in skus))
    await queries.order(f"{name}-order")
    await queries.dry_runs.place_order(
        PlaceOrder(order_id=f"{name}-next", lines=[OrderedLine(sku=sku, qty=1) for sku in skus])
    )


async def everything(bus: MessageBus, queries: Queries, name: str) -> None:
    """Every statement of the bus and of the read side."""
    commands: list[Command] = [
        CreateBatch(ref=f"{name}-1", sku="CHAIR", qty=5),
        CreateBatch(ref=f"{name}-2", sku=f"SKU-{name}", qty=5),
        Allocate(order_id=name, sku="CHAIR", qty=5),
        Allocate(order_id=f"{name}-large", sku="CHAIR", qty=60),
        ChangeBatchQuantity(ref="chairs", qty=20_000),
        ChangeBatchQuantity(ref=f"{name}-1", qty=3),
        CountBatch(ref=f"{name}-1", on_hand_qty=4),
        CountProduct(sku=f"SKU-{name}", on_hand_qty=7),
        CountProduct(sku=f"NEW-{name}", on_hand_qty=7),
        CancelAllocation(order_id=name, sku="CHAIR"),
    ]
    for command in commands:
        (outcome,) = await bus.handle_group([Request(command, CAUSE, received(f"{name}-{command!r}"[:255]))])
        outcome.unwrap()
    await queries.product("CHAIR")
    await queries.batch("chairs")
    await queries.allocations(f"{name}-large")


async def scans(engine: AsyncEngine) -> dict[str, int]:
    """The number of sequential scans of each of the bus's tables, as counted by the pool's session."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_stat_force_next_flush()"))
        await connection.commit()
        rows = await connection.execute(text(SCANS))
        watched = {"products", "batches", "order_lines", "inbox", "outbox"}
        return {row.relname: row.seq_scan for row in rows if row.relname in watched}


async def entries(engine: AsyncEngine) -> dict[str, int]:
    """The number of entries read from each index."""
    async with engine.connect() as connection:
        return {row.indexrelname: row.idx_tup_read for row in await connection.execute(text(ENTRIES))}


@pytest.mark.parametrize("terms", [{"location": "far"}, {"blocked": True}, {"best_before": date(2020, 1, 1)}])
async def test_batches_that_a_line_cannot_use_are_not_read(one_connection: AsyncEngine, terms: dict[str, Any]) -> None:
    bus = bus_over(one_connection)
    await play(bus, CreateBatch(ref="here", sku="CHAIR", qty=1000))
    costs = []
    for others in (0, 500):
        await play(bus, *(CreateBatch(ref=f"other-{n}", sku="CHAIR", qty=10, **terms) for n in range(others)))
        read = []
        for order in range(3):
            line = Allocate.model_validate(
                {"order_id": f"o-{others}-{order}", "sku": "CHAIR", "qty": 1, "from": ["main"]}
            )
            before = await entries_of_batches(one_connection)
            assert labels(await play(bus, line)) == ["ok"]
            read.append(await entries_of_batches(one_connection) - before)
        costs.append(min(read))
    assert costs[0] > 0
    assert costs[1] <= costs[0] + 1


async def entries_of_batches(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_stat_force_next_flush()"))
    return sum(read for name, read in (await entries(engine)).items() if "batches" in name)


async def test_a_statement_is_planned_once_for_each_connection(one_connection: AsyncEngine) -> None:
    await play(bus_over(one_connection), CreateBatch(ref="chairs", sku="CHAIR", qty=100))
    for number in range(3):
        await play(bus_over(one_connection), Allocate(order_id=f"order-{number}", sku="CHAIR", qty=1))
    async with one_connection.connect() as connection:
        plans = text("SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements")
        generic, custom = (await connection.execute(plans)).one()
    assert generic > 0
    assert custom == 0
