"""Commands over four cells of one database: what is unique, what one transaction does, and what a group costs."""

import asyncio
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.cells import _FENCE
from app.adapters.postgresql.connections import create_engine
from app.adapters.postgresql.event_ids import LOCK_EVENTS, NEXT_BLOCK, NEXT_BLOCK_BY_TIME
from app.domain.commands import (
    Allocate,
    CancelOrder,
    ChangeBatchQuantity,
    CreateBatch,
    OrderedLine,
    PlaceOrder,
    TransferBatch,
)
from app.service_layer.cells import ONE_CELL, CellMap
from app.service_layer.messagebus import MessageBus
from tests.support.cells import CELLS as SETTING
from tests.support.database import bus_over, labels, play, raw_connection, results, statements

CELLS = CellMap(4)
SKUS = {CELLS.of(sku): sku for sku in (f"SKU-{number}" for number in range(40))}
"""A product of each cell."""

SCHEMAS = re.compile(r"\b(?:cell_\d+|control)(?=\.)")
COUNT = "SELECT (SELECT count(*) FROM batches), (SELECT count(*) FROM batch_refs), (SELECT count(*) FROM products)"


@pytest.fixture
async def processes(cells_url: str) -> AsyncIterator[list[MessageBus]]:
    """Four buses, each over connections of its own."""
    engines = [create_engine(cells_url, pool_size=2) for _ in range(4)]
    yield [bus_over(engine, cells=CELLS) for engine in engines]
    for engine in engines:
        await engine.dispose()


@pytest.fixture
async def one_connection(cells_url: str) -> AsyncIterator[AsyncEngine]:
    """A pool of one, on which `statements` sees all."""
    engine = create_engine(cells_url, pool_size=1)
    yield engine
    await engine.dispose()


@pytest.fixture
async def database(cells_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that reads all cells together."""
    async with raw_connection(cells_url) as connection:
        yield connection


async def stock(bus: MessageBus, qty: int = 10) -> None:
    """Record a batch of the product of each cell."""
    await results(bus, *(CreateBatch(ref=f"batch-{cell}", sku=sku, qty=qty) for cell, sku in SKUS.items()))


def order(order_id: str, qty: int = 1, cells: tuple[int, ...] = (0, 1, 2, 3)) -> PlaceOrder:
    return PlaceOrder(order_id=order_id, lines=[OrderedLine(sku=SKUS[cell], qty=qty) for cell in cells])


async def test_a_ref_that_products_of_different_cells_claim_at_once_goes_to_one_of_them(
    processes: list[MessageBus], database: asyncpg.Connection
) -> None:
    for number in range(10):
        claims = [CreateBatch(ref=f"ref-{number}", sku=sku, qty=1) for sku in SKUS.values()]

        plays = (play(bus, claim) for bus, claim in zip(processes, claims, strict=True))
        outcomes = [label for each in await asyncio.gather(*plays) for label in labels(each)]

        assert sorted(outcomes) == ["batch-conflict"] * 3 + ["ok"]
        # A product of which no batch was recorded leaves nothing behind.
        batches, refs, products = await database.fetchrow(COUNT)
        assert batches == refs == number + 1
        assert products == await database.fetchval("SELECT count(DISTINCT sku) FROM batches")


async def test_a_ref_of_another_cell_is_found_and_not_taken(processes: list[MessageBus]) -> None:
    await stock(processes[0])

    repeated, taken = await play(processes[0], *(CreateBatch(ref="batch-0", sku=SKUS[cell], qty=10) for cell in (0, 1)))
    changed, unknown = await play(
        processes[1], ChangeBatchQuantity(ref="batch-3", qty=4), ChangeBatchQuantity(ref="none", qty=4)
    )

    assert labels([repeated, taken, changed, unknown]) == ["ok", "batch-conflict", "ok", "batch-not-found"]


async def test_a_batch_that_is_divided_has_its_new_ref_in_the_cell_of_that_name(
    processes: list[MessageBus], database: asyncpg.Connection
) -> None:
    await stock(processes[0])
    refs = [f"part-{number}" for number in range(8)]

    moves = (TransferBatch(source_ref="batch-2", ref=ref, qty=1, location="north") for ref in refs)
    assert labels([outcome for move in moves for outcome in await play(processes[0], move)]) == ["ok"] * 8

    for cell in range(4):
        found = await database.fetch(f"SELECT ref, sku FROM cell_{cell}.batch_refs WHERE ref LIKE 'part-%'")
        assert {row["ref"] for row in found} == {ref for ref in refs if CELLS.of(ref) == cell}
        assert {row["sku"] for row in found} <= {SKUS[2]}


async def test_a_batch_that_serves_the_queue_has_its_ref_in_the_cell_of_that_name(
    processes: list[MessageBus], database: asyncpg.Connection
) -> None:
    # The batch is written before the queue is read.
    await stock(processes[0], qty=1)
    await results(processes[0], order("order-1", qty=2))
    await results(processes[0], *(CreateBatch(ref=f"more-{cell}", sku=sku, qty=9) for cell, sku in SKUS.items()))

    batches, refs, _ = await database.fetchrow(COUNT)
    assert batches == refs == 8
    taken = await play(processes[1], *(CreateBatch(ref=f"more-{cell}", sku=SKUS[3 - cell], qty=1) for cell in SKUS))
    assert labels(taken) == ["batch-conflict"] * 4


async def test_an_order_over_cells_is_placed_and_cancelled_as_a_whole(
    processes: list[MessageBus], database: asyncpg.Connection
) -> None:
    await stock(processes[0], qty=2)

    placed = await play(processes[0], order("order-1", qty=2))
    refused = await play(processes[1], order("order-2").model_copy(update={"if_unavailable": "reject"}))
    again = await play(processes[2], order("order-1", qty=2))

    assert labels([*placed, *refused, *again]) == ["ok", "out-of-stock", "ok"]
    assert await database.fetchval("SELECT count(*) FROM order_lines") == 4
    assert await database.fetchval("SELECT count(*) FROM events WHERE subject = 'order-1'") == 1
    home = CELLS.of("order-1")
    assert await database.fetchval(f"SELECT count(*) FROM cell_{home}.orders WHERE order_id = 'order-1'") == 1

    assert labels(await play(processes[3], CancelOrder(order_id="order-1"))) == ["ok"]
    assert await database.fetchval("SELECT count(*) FROM order_lines") == 0
    assert await database.fetchval("SELECT sum(allocated_qty) FROM batches") == 0


async def test_orders_over_cells_at_once_are_each_placed_once(
    processes: list[MessageBus], database: asyncpg.Connection
) -> None:
    await stock(processes[0], qty=60)
    pairs = [(0, 1), (1, 0), (2, 3), (3, 0), (1, 3)]

    async def place(number: int, bus: MessageBus) -> list[str]:
        wanted = (order(f"order-{number}-{place}", cells=pair) for place, pair in enumerate(pairs))
        return [label for each in wanted for label in labels(await play(bus, each))]

    outcomes = await asyncio.gather(*(place(number, bus) for number, bus in enumerate(processes)))

    assert outcomes == [["ok"] * 5] * 4
    assert await database.fetchval("SELECT count(*) FROM order_lines WHERE batch_number IS NOT NULL") == 40


async def test_events_of_each_subject_are_numbered_without_gaps(
    processes: list[MessageBus], database: asyncpg.Connection
) -> None:
    await stock(processes[0])
    await play(processes[0], *(order(f"order-{number}") for number in range(3)))

    numbers = await database.fetch(
        "SELECT subject, array_agg(sequence ORDER BY id) AS found FROM events WHERE sequence IS NOT NULL GROUP BY 1"
    )
    assert {row["subject"]: row["found"] for row in numbers} == {sku: [1, 2, 3, 4] for sku in SKUS.values()}
    for cell, sku in SKUS.items():
        assert (
            await database.fetchval(
                f"SELECT count(*) FROM cell_{cell}.outbox JOIN cell_{cell}.events USING (id) WHERE subject = $1", sku
            )
            == 4
        )


@pytest.mark.skipif(SETTING.number > 1, reason="compares with one cell")
@pytest.mark.parametrize("cell", range(4))
async def test_a_group_of_one_cell_names_its_schema_only_and_costs_what_it_costs_with_one_cell(
    one_connection: AsyncEngine, database_url: str, cell: int
) -> None:
    over = bus_over(one_connection, cells=CELLS)
    alone = create_engine(database_url, pool_size=1)
    undivided = bus_over(alone, cells=ONE_CELL)
    commands = [Allocate(order_id=f"order-{number}", sku=SKUS[cell], qty=1) for number in range(5)]
    await stock(over)
    await stock(undivided)

    async with statements(one_connection) as executed:
        assert labels(await play(over, *commands)) == ["ok"] * 5
    async with statements(alone) as usual:
        await play(undivided, *commands)
    await alone.dispose()

    assert {name for statement in executed for name in SCHEMAS.findall(statement)} == {f"cell_{cell}"}
    assert [re.sub(r"cell_\d+\.", "", statement).removeprefix(f"{_FENCE} ") for statement in executed] == [
        # Citus does not run it; see `qualified`.
        statement.removeprefix(LOCK_EVENTS).replace(NEXT_BLOCK, NEXT_BLOCK_BY_TIME)
        for statement in usual
    ]


async def test_no_statement_of_a_command_over_cells_names_two_schemas(one_connection: AsyncEngine) -> None:
    bus = bus_over(one_connection, cells=CELLS)

    async with statements(one_connection) as executed:
        await stock(bus)
        await play(bus, order("order-1"))
        await play(bus, CancelOrder(order_id="order-1"))

    assert all(len(set(SCHEMAS.findall(statement))) < 2 for statement in executed)
    assert {name for statement in executed for name in SCHEMAS.findall(statement)} == {
        f"cell_{cell}" for cell in range(4)
    }
