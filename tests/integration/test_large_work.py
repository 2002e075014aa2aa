"""Commands on many lines, and groups that take long, succeed within their limits."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql import command_size, connections, unit_of_work
from app.adapters.postgresql.connections import create_engine
from app.adapters.postgresql.rows import LineRow
from app.adapters.postgresql.unit_of_work import SqlUnitOfWork
from app.domain.commands import (
    Allocate,
    AllocateMany,
    ChangeBatchEta,
    ChangeBatchQuantity,
    CountProduct,
    CreateBatch,
)
from app.domain.stock import Allocation
from app.service_layer import group_run
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import UnitOfWork
from app.service_layer.requests import Request
from tests.support import database as support
from tests.support.cells import queries_over
from tests.support.database import CAUSE, bus_over, labels, play
from tests.support.errands import Errand

LINES = 2500
"""More than one command may fetch in a unit of work that others share."""

EVENTS = text(
    "SELECT type, data::json ->> 'order_id' FROM events WHERE subject = 'CHAIR' AND sequence > :after ORDER BY id"
)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database_url, pool_size=5)
    yield engine
    await engine.dispose()


async def queue_lines(bus: MessageBus, number: int = LINES) -> list[str]:
    """Put lines of 2 pieces into the queue of CHAIR; returns their orders, oldest request first."""
    orders = [f"order-{n}" for n in range(number)]
    await play(bus, CreateBatch(ref="too-small", sku="CHAIR", qty=1))
    for start in range(0, number, 1000):
        items = tuple(Allocate(order_id=order, sku="CHAIR", qty=2) for order in orders[start : start + 1000])
        await play(bus, AllocateMany(items=items))
    return orders


async def sequence_of(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text("SELECT sequence FROM products WHERE sku = 'CHAIR'"))).scalar_one())


async def events_after(engine: AsyncEngine, sequence: int) -> list[tuple[str, str | None]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(EVENTS, {"after": sequence})]


async def test_a_long_queue_is_served_whole_in_one_transaction_and_others_do_not_wait(engine: AsyncEngine) -> None:
    bus = bus_over(engine)
    orders = await queue_lines(bus)
    await play(bus, *(CreateBatch(ref=f"batch-{n}", sku=f"SKU-{n}", qty=1000) for n in range(20)))
    before = await sequence_of(engine)

    async with bus:
        restock = asyncio.create_task(bus.handle(CreateBatch(ref="enough", sku="CHAIR", qty=2 * LINES), CAUSE))
        others = 0
        while not restock.done():
            await bus.handle(Allocate(order_id=f"other-{others}", sku=f"SKU-{others % 20}", qty=1), CAUSE)
            others += 1
        recorded = await restock

    # The last of them can have ended after the restock.
    assert others > 3
    assert recorded.batch.available_qty == 0
    events = await events_after(engine, before)
    assert events == [("batch_created.v1", None), *(("line_allocated.v1", order) for order in orders)]
    product = await queries_over(engine).product("CHAIR")
    assert (product.allocated_qty, product.backordered_qty) == (2 * LINES, 0)


async def test_a_cut_releases_many_lines_last_allocated_first_and_queues_them_by_request(engine: AsyncEngine) -> None:
    bus = bus_over(engine)
    orders = await queue_lines(bus)
    await play(bus, CreateBatch(ref="enough", sku="CHAIR", qty=2 * LINES))
    before = await sequence_of(engine)

    (outcome,) = await play(bus, ChangeBatchQuantity(ref="enough", qty=0))

    assert [move.order_id for move in outcome.unwrap().moved] == orders
    events = await events_after(engine, before)
    assert events[0] == ("batch_quantity_changed.v1", None)
    assert events[1 : LINES + 1] == [("line_deallocated.v1", order) for order in reversed(orders)]
    assert events[LINES + 1 :: 2] == [("out_of_stock.v1", order) for order in orders]
    assert events[LINES + 2 :: 2] == [("line_backordered.v1", order) for order in orders]
    assert (await queries_over(engine).product("CHAIR")).backordered_qty == 2 * LINES


async def test_a_count_that_releases_many_lines_of_two_batches_is_one_transaction(engine: AsyncEngine) -> None:
    bus = bus_over(engine)
    orders = await queue_lines(bus)
    await play(bus, *(CreateBatch(ref=f"half-{n}", sku="CHAIR", qty=LINES) for n in range(2)))
    before = await sequence_of(engine)

    (outcome,) = await play(bus, CountProduct(sku="CHAIR", on_hand_qty=0))

    assert [move.order_id for move in outcome.unwrap().moved] == orders
    events = await events_after(engine, before)
    assert events[:3] == [("batch_quantity_changed.v1", None)] * 3
    assert [kind for kind, _ in events[3 : LINES + 3]] == ["line_deallocated.v1"] * LINES
    assert events[LINES + 3 :: 2] == [("out_of_stock.v1", order) for order in orders]
    assert (await queries_over(engine).product("CHAIR")).backordered_qty == 2 * LINES


async def test_many_lines_of_a_late_batch_move_in_one_transaction(engine: AsyncEngine) -> None:
    bus = bus_over(engine)
    orders = await queue_lines(bus)
    await play(bus, CreateBatch(ref="late", sku="CHAIR", qty=2 * LINES))
    await play(bus, CreateBatch(ref="soon", sku="CHAIR", qty=2 * LINES, eta=date(2030, 1, 1)))

    (outcome,) = await play(bus, ChangeBatchEta(ref="late", eta=date(2031, 1, 1), reallocate=True))

    assert [(move.order_id, move.to_batch_ref) for move in outcome.unwrap().moved] == [(o, "soon") for o in orders]
    queries = queries_over(engine)
    assert ((await queries.batch("late")).allocated_qty, (await queries.batch("soon")).allocated_qty) == (0, 2 * LINES)


async def test_the_lines_of_a_long_queue_are_compared_once_each(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = bus_over(engine)
    await queue_lines(bus)
    compared = 0
    row_of = LineRow.of

    def counting(allocation: Allocation) -> LineRow:
        nonlocal compared
        compared += 1
        return row_of(allocation)

    monkeypatch.setattr(LineRow, "of", counting)
    await play(bus, CreateBatch(ref="enough", sku="CHAIR", qty=2 * LINES))

    assert LINES <= compared <= 2 * LINES


async def test_a_group_goes_on_in_the_next_transaction_once_it_has_raised_many_events(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_run, "MAX_EVENTS", 10)
    committed: list[int] = []

    class Counting(SqlUnitOfWork):
        async def commit(self) -> None:
            committed.append(self.event_count)
            await super().commit()

    bus = bus_over(engine, kind=Counting)

    outcomes = await play(bus, *(CreateBatch(ref=f"batch-{n}", sku=f"SKU-{n}", qty=1) for n in range(25)))

    assert labels(outcomes) == ["ok"] * 25
    assert committed == [11, 11, 3]


@pytest.fixture
async def hasty(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncEngine]:
    """Connections with a transaction timeout of 1 s."""
    for module in (connections, unit_of_work):
        monkeypatch.setattr(module, "TRANSACTION_TIMEOUT", 1)
    engine = create_engine(database_url, pool_size=2)
    yield engine
    await engine.dispose()


async def test_a_session_that_is_ended_at_the_time_limit_halves_the_group(hasty: AsyncEngine) -> None:
    attempts: list[str] = []

    async def run(command: Errand, uow: UnitOfWork) -> str:
        attempts.append(command.name)
        assert isinstance(uow, SqlUnitOfWork)
        await uow._connection.execute("SELECT pg_sleep(0.7)")
        return command.name

    bus = MessageBus(lambda _: support.unit_of_work(hasty), [(Errand, run)])

    outcomes = await bus.handle_group([Request(Errand(name=name), CAUSE) for name in ("post", "bank")])

    assert [outcome.result for outcome in outcomes] == ["post", "bank"]
    # On a slow machine the first attempt ends before the second request.
    assert attempts in (["post", "bank", "post", "bank"], ["post", "post", "bank"])


async def test_a_large_command_has_more_time_than_a_small_one(
    hasty: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = bus_over(hasty)
    await queue_lines(bus, 30)
    monkeypatch.setattr(command_size, "LARGE", 15)
    fetch = asyncpg.Connection.fetch

    async def slow(connection: asyncpg.Connection, query: str, *arguments: object, **options: object) -> object:
        rows = await fetch(connection, query, *arguments, **options)
        if "batch_number IS NULL AND requested >" in query:
            await connection.execute("SELECT pg_sleep(0.4)")
        return rows

    monkeypatch.setattr("app.service_layer.backorders.PAGE", 10)
    monkeypatch.setattr(asyncpg.Connection, "fetch", slow)

    (outcome,) = await play(bus, CreateBatch(ref="enough", sku="CHAIR", qty=60))

    # Each page of 10 lines takes 0.4 s. The second one makes the command large, before the timeout of 1 s.
    assert outcome.label == "ok", outcome.error
