"""A check asks the same question as a reservation: what it says of a product is what a placement then does.

And every sum of what is available is the sum of what the domain would allocate.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import date, timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import create_engine
from app.adapters.postgresql.snapshot import Snapshots
from app.domain.commands import Allocate, Command, CreateBatch, ExpireHolds, PlaceOrder, SetReorderPoint
from app.domain.errors import DomainError
from app.read_model.availability import Question
from app.service_layer.lock_sets import LockSet
from app.service_layer.ports import UnitOfWork
from app.service_layer.results import BatchState, StockState
from tests.support.cells import cells_of, queries_over
from tests.support.database import bus_over, play
from tests.support.database_clock import install_clock, set_clock
from tests.support.holds import NOON
from tests.support.strategies import (
    FIRST_DAY,
    SKUS,
    commands_and_orders,
    hold_times,
    later,
    line_quantities,
    midnights,
    moments,
    wishing,
)

NEW = "new"
EMPTIED = ("products", "batches", "batch_refs", "order_lines", "orders", "events", "outbox")
EMPTY = text("TRUNCATE " + ", ".join(f"ONLY {table}" for table in EMPTIED))
STOCK = [
    CreateBatch(ref="b1", sku=SKUS[0], qty=6, eta=date(2030, 1, 2)),
    CreateBatch(ref="b2", sku=SKUS[0], qty=6, location="north", best_before=FIRST_DAY + timedelta(days=1)),
    CreateBatch(ref="b3", sku=SKUS[0], qty=6, location="south"),
    CreateBatch(ref="b4", sku=SKUS[1], qty=6),
    *(SetReorderPoint(sku=sku, qty=4) for sku in SKUS),
]

steps = st.one_of(*[st.just(timedelta())] * 3, moments, midnights)
stories = st.lists(st.tuples(steps, st.lists(commands_and_orders(), min_size=1, max_size=4)), min_size=3, max_size=8)
new_lines = wishing(Allocate, order_id=st.just(NEW), sku=st.sampled_from(SKUS), qty=line_quantities)
holds = wishing(Allocate, order_id=st.just(NEW), sku=st.sampled_from(SKUS), qty=line_quantities, hold_for=hold_times)
placements = commands_and_orders().filter(lambda command: isinstance(command, Allocate | PlaceOrder))
checks = st.lists(st.one_of(new_lines, new_lines, holds, placements), min_size=5, max_size=10)

Answer = TypeVar("Answer")


async def answer_of(asked: Awaitable[Answer]) -> Answer | str:
    """The answer, or the code of the refusal."""
    try:
        return await asked
    except DomainError as refusal:
        return refusal.code


def shown(lines: Sequence[Any]) -> list[tuple[str, int, str, str | None, bool]]:
    """Of each line: SKU, pieces, status, batch, and whether it is held. The end of a hold depends on the time."""
    return [(line.sku, line.qty, line.status, line.batch_ref, line.held_until is not None) for line in lines]


class Shop:
    """The service and its read side over one database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._bus = bus_over(engine)
        self._queries = queries_over(engine)
        self._now = NOON

    async def play(self, step: timedelta, commands: Sequence[Command]) -> None:
        self._now = later(self._now, step)
        await set_clock(self._engine, self._now)
        await play(self._bus, *commands)

    async def check(self, command: Allocate | PlaceOrder) -> None:
        """Ask, place, and compare."""
        dry_runs = self._queries.dry_runs
        if isinstance(command, PlaceOrder):
            order = await answer_of(dry_runs.place_order(command))
            assert _lines(order) == _lines(await answer_of(self._place(command)))
            return
        question = Question(command.sku, command.qty, requirements=command.requirements)
        available = await answer_of(self._queries.availability(question))
        preview = await answer_of(dry_runs.allocate(command))
        placed = await answer_of(self._place(command))
        assert _lines(preview) == _lines(placed)
        if command.order_id.startswith(NEW) and not isinstance(available, str):
            got = None if isinstance(placed, str) else placed.allocation.batch_ref
            assert (available.batch_ref, available.available) == (got, got is not None)

    async def _place(self, command: Command) -> Any:  # noqa: ANN401 - each command has a result of its own
        (outcome,) = await play(self._bus, command)
        return outcome.unwrap()

    async def check_sums(self) -> None:
        """Compare the read side with products that have all of their batches in memory."""
        low = await self._listed(low_stock=True)
        sold_out = await self._listed(sold_out=True)
        listed = await self._listed()
        for sku in SKUS:
            batches, stock = await self._of_the_domain(sku)
            product = await self._queries.product(sku)
            assert sorted(product.batches, key=lambda batch: batch.ref) == batches
            assert [await self._queries.batch(batch.ref) for batch in batches] == batches
            assert product.available_qty == listed[sku].available_qty == stock.available_qty
            assert listed[sku].incoming_qty == stock.incoming_qty
            assert (sku in sold_out) == (stock.available_qty == 0)
            assert (sku in low) == _is_low(stock)

    async def empty(self) -> None:
        for engine in cells_of(self._engine).engines:
            async with engine.begin() as connection:
                await connection.execute(EMPTY)

    async def _listed(self, **wanted: bool) -> dict[str, Any]:
        filters = {"low_stock": False, "backordered": False, "sold_out": False, **wanted}
        page = await self._queries.lists.products(**filters, limit=10, cursor=None)
        return {item.sku: item for item in page.items}

    async def _of_the_domain(self, sku: str) -> tuple[list[BatchState], StockState]:
        async def look(uow: UnitOfWork) -> tuple[list[BatchState], StockState]:
            product = uow.products.get(sku)
            assert product is not None
            batches = [BatchState.of(sku, batch) for batch in product.batches.values()]
            return sorted(batches, key=lambda batch: batch.ref), StockState.of(product)

        refs = {batch.ref for batch in (await self._queries.product(sku)).batches}
        return await Snapshots(cells_of(self._engine)).run(LockSet(skus={sku}, batch_refs=refs), look)


def _lines(answer: Any) -> object:  # noqa: ANN401 - a preview, a result, or the code of a refusal
    if isinstance(answer, str):
        return answer
    order = getattr(answer, "order", answer)
    return shown(getattr(order, "lines", None) or [getattr(answer, "allocation", answer)])


def _is_low(stock: StockState) -> bool:
    return stock.reorder_point is not None and stock.available_qty + stock.held_qty < stock.reorder_point


def test_what_a_check_says_is_what_a_placement_does(database_url: str) -> None:
    with asyncio.Runner() as runner:
        runner.run(install_clock(database_url, NOON))
        engine = create_engine(database_url, pool_size=4)

        @given(story=stories, checked=checks)
        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        def try_it(story: list[tuple[timedelta, list[Command]]], checked: list[Allocate | PlaceOrder]) -> None:
            async def run() -> None:
                shop = Shop(engine)
                await shop.empty()
                for step, commands in [(timedelta(), STOCK), *story]:
                    await shop.play(step, commands)
                # As the sweeper does: a check does not end holds.
                await shop.play(timedelta(), [ExpireHolds(sku=sku) for sku in SKUS])
                await shop.check_sums()
                for number, command in enumerate(checked):
                    is_new = command.order_id == NEW
                    await shop.check(command.model_copy(update={"order_id": f"new-{number}"}) if is_new else command)
                await shop.check_sums()

            runner.run(run())

        try:
            try_it()
        finally:
            runner.run(engine.dispose())
