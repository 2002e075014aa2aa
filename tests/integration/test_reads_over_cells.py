"""Every query gives the same over four cells as over one: the rows of `tests/support/divided.py` are stored in both."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from operator import attrgetter
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql import schema
from app.adapters.postgresql.cells import Cells
from app.adapters.postgresql.connections import create_engine
from app.bootstrap import bootstrap
from app.domain.commands import Allocate, PlaceOrder
from app.domain.errors import BatchNotFoundError, CartNotFoundError, OrderNotFoundError, ProductNotFoundError
from app.embedded.postgresql import EmbeddedPostgresql
from app.read_model.availability import Question
from app.read_model.queries import Queries
from app.read_model.reader import Reader
from app.service_layer.cells import CellMap
from app.settings import Settings
from tests.conftest import new_database
from tests.support.database import raw_connection
from tests.support.divided import ARCHIVED_BEFORE, CARTS, ORDERS, SKUS, Shop, ref_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

CELLS = CellMap(4)
REFS = [ref_of(sku, number) for sku in SKUS for number in (1, 2, 3)]


class Both:
    """The queries over one cell, and those over four."""

    def __init__(self, engines: dict[int, AsyncEngine]) -> None:
        self.engines = engines
        self.one, self.four = (Queries(Cells(engines[number], CellMap(number))) for number in (1, 4))

    async def ask(self, query: str, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - of any query
        """The answer to the query, which is the same."""
        expected, found = [await attrgetter(query)(each)(*arguments, **named) for each in (self.one, self.four)]
        assert found == expected
        return found

    async def walk(self, query: str, *arguments: Any, **named: Any) -> list[Any]:
        """The items of all pages. Each page is the same, and so is its cursor."""
        items: list[Any] = []
        cursor = None
        while True:
            page = await self.ask(query, *arguments, **named, cursor=cursor)
            items += page.items
            cursor = page.next_cursor
            if cursor is None:
                assert (page.count, page.count_is_exact) == (len(items), True)
                return items


@pytest.fixture(scope="module")
def urls(postgresql: EmbeddedPostgresql, template_with_cells: str) -> Iterator[dict[int, str]]:
    """The URL of a database with one cell, and that of a database with four, with the same rows."""
    shop = Shop()
    shop.fill()
    with new_database(postgresql) as one, new_database(postgresql, f"TEMPLATE {template_with_cells}") as four:
        schema.migrate(one)
        for cells, url in ((1, one), (4, four)):
            asyncio.run(shop.store(url, cells))
        yield {1: one, 4: four}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(urls: dict[int, str]) -> AsyncIterator[Both]:
    """Both databases. The tests do not write."""
    engines = {cells: create_engine(url, pool_size=5) for cells, url in urls.items()}
    yield Both(engines)
    for engine in engines.values():
        await engine.dispose()


async def test_the_rows_are_in_all_cells(urls: dict[int, str]) -> None:
    async with raw_connection(urls[4]) as connection:
        for table in ("products", "batch_refs", "order_lines", "events"):
            counts = [await connection.fetchval(f"SELECT count(*) FROM cell_{cell}.{table}") for cell in range(4)]
            assert all(counts), (table, counts)
    assert {CELLS.of(ref_of(sku, 1)) == CELLS.of(sku) for sku in SKUS} == {True, False}


async def test_products_and_batches_are_read_in_their_cells(both: Both) -> None:
    for sku in SKUS:
        state = await both.ask("product", sku)
        assert [each.ref for each in sorted(state.batches, key=lambda each: each.ref)] == [
            ref_of(sku, number) for number in (1, 2, 3)
        ]
    found = await asyncio.gather(*(both.four.batch(ref) for ref in REFS))
    assert found == [await both.one.batch(ref) for ref in REFS]
    assert [each.ref for each in found] == REFS


async def test_orders_have_their_lines_from_all_cells(both: Both) -> None:
    found = await asyncio.gather(*(both.four.order(order_id) for order_id in ORDERS))
    assert found == [await both.one.order(order_id) for order_id in ORDERS]
    assert [[line.sku for line in order.lines] for order in found] == [
        sorted(line.sku for line in order.lines) for order in found
    ]
    assert any(len({CELLS.of(line.sku) for line in order.lines}) > 2 for order in found)
    assert {line.status for order in found for line in order.lines} == {"allocated", "backordered", "held", "shipped"}


async def test_carts_are_read_in_their_cells(both: Both) -> None:
    for number, cart in enumerate(CARTS):
        state = await both.ask("carts.get", cart)
        assert [item.qty for item in state.items] == [number + 1]


async def test_what_is_not_recorded_is_in_no_cell(both: Both) -> None:
    for queries in (both.one, both.four):
        for error, ask in (
            (ProductNotFoundError, queries.product("absent")),
            (BatchNotFoundError, queries.batch("absent")),
            (OrderNotFoundError, queries.order("absent")),
            (CartNotFoundError, queries.carts.get("absent")),
            (ProductNotFoundError, queries.history.page("absent", limit=1, cursor=None)),
        ):
            with pytest.raises(error):
                await ask
    assert await both.ask("history.of_order", "absent") == []
    assert await both.walk("lists.lines_of", "absent", limit=2) == []


async def test_lists_of_products_are_in_the_order_of_their_names(both: Both) -> None:
    for low, waiting, sold_out in product((False, True), repeat=3):
        flags = {"low_stock": low, "backordered": waiting, "sold_out": sold_out}
        found = await both.walk("lists.products", limit=3, **flags)
        if not (low or waiting or sold_out):
            assert [each.sku for each in found] == sorted(SKUS)
        assert found or sold_out


async def test_lists_of_batches_are_in_the_order_of_their_keys(both: Both) -> None:
    soon = datetime.now(UTC).date() + timedelta(days=1)
    filters: list[dict[str, Any]] = [{}, {"arriving_by": soon}, {"late": True}, {"unfit": True}]
    for given, sort, sku in product(filters, ("sku", "eta"), (None, SKUS[5])):
        found = await both.walk("lists.batches", sku=sku, sort=sort, limit=4, **given)
        key = [each.sku if sort == "sku" else (each.eta, each.sku) for each in found]
        assert key == sorted(key)
        assert found or sku is not None or (sort == "eta" and given == {"unfit": True})


async def test_lists_of_backorders_are_in_the_order_of_their_keys(both: Both) -> None:
    for sort, sku in product(("sku", "placed_at"), (None, *SKUS)):
        found = await both.walk("lists.backorders", sku=sku, sort=sort, limit=2)
        if sku is None:
            assert len({CELLS.of(each.sku) for each in found}) == 4
        if sku is None and sort == "placed_at":
            assert [each.placed_at for each in found] == sorted(each.placed_at for each in found)


async def test_shortages_are_in_the_order_of_what_is_missing(both: Both) -> None:
    everything = await both.ask("lists.shortages", limit=100)
    assert (everything.count, everything.count_is_exact) == (len(everything.items), True)
    waiting = [each.backordered_qty for each in everything.items]
    assert waiting == sorted(waiting, reverse=True)
    assert {0} < set(waiting)
    for limit in range(1, len(waiting)):
        assert len((await both.ask("lists.shortages", limit=limit)).items) == limit


async def test_the_lines_of_a_batch_are_read_in_its_cell(both: Both) -> None:
    found = 0
    for ref, shipped in product(REFS, (False, True)):
        found += len(await both.walk("lists.lines_of", ref, shipped=shipped, limit=1))
    assert found > 20


async def test_histories_are_in_the_order_of_sequences(both: Both) -> None:
    for sku in SKUS:
        found = await both.walk("history.page", sku, limit=3)
        assert [each.sequence for each in found] == sorted((each.sequence for each in found), reverse=True)
    for order_id in ORDERS:
        found = await both.ask("history.of_order", order_id)
        assert {each.order_id for each in found} == {order_id}
        assert [each.time for each in found] == sorted((each.time for each in found), reverse=True)
    for sku, number in product(SKUS, (1, 2, 3)):
        changed = number == 1 and SKUS.index(sku) % 2 == 0
        found = await both.ask("history.of_batch", sku, ref_of(sku, number))
        assert len(found) == 1 + changed - (sku == SKUS[7] and number == 1)


async def test_the_archive_that_has_the_first_events_is_noted_outside_of_the_cells(both: Both) -> None:
    assert await both.ask("history.archived_before") == ARCHIVED_BEFORE
    pages = [await both.four.history.page(sku, limit=1, cursor=None) for sku in SKUS[6:8]]
    assert [page.archived_before for page in pages] == [None, ARCHIVED_BEFORE]


async def test_a_search_finds_the_first_names_of_all_cells(both: Both) -> None:
    for prefix in ("a", "A", "S", "SKU-1", "order-", "order-1", "batch-", "batch-2-of-SKU", "b", "9", "absent", "%"):
        await both.ask("search", prefix)
    assert (await both.four.search("SKU-")).skus == sorted(sku for sku in SKUS if sku.startswith("SKU-"))[:10]
    assert (await both.four.search("order-")).orders == sorted(ORDERS)[:10]


async def test_the_overview_is_the_sum_over_the_cells(both: Both) -> None:
    expected, found = await both.one.overview(), await both.four.overview()
    assert found.outbox_age_seconds == pytest.approx(expected.outbox_age_seconds, abs=10)
    assert found.outbox_age_seconds > 0
    assert found == replace(expected, time=found.time, outbox_age_seconds=found.outbox_age_seconds)
    ages = found.backorders
    counts = (found.low_stock, found.late_batches, found.held_lines, found.allocations_today, ages.under_1_day)
    assert all(count.count > 4 for count in counts)
    assert found.dead_letters.count == 3


async def test_the_activity_is_the_sum_over_the_cells(both: Both) -> None:
    for _ in range(2):
        expected, found = await both.one.activity(), await both.four.activity()
        assert (found.newest, found.changes) == (expected.newest, expected.changes)
        for name in ("allocations", "backorders", "arrivals"):
            sums = [sum(getattr(hour, name) for hour in each.hours) for each in (found, expected)]
            assert sums[0] == sums[1] > 4
        assert found.hours_are_complete
        assert len({CELLS.of(each.sku) for each in found.newest}) > 2


async def test_availability_and_dry_runs_read_the_cells_that_they_need(both: Both) -> None:
    for sku in SKUS:
        await both.ask("availability", Question(sku, 5))
        command = Allocate(order_id="new", sku=sku, qty=2)
        await both.ask("dry_runs.allocate", command)
    lines = [{"sku": sku, "qty": 2} for sku in SKUS]
    order = PlaceOrder.model_validate({"order_id": "new", "lines": lines})
    found = await both.ask("dry_runs.place_order", order)
    assert [line.sku for line in found.lines] == sorted(SKUS)


@pytest.mark.parametrize(("option", "least", "most"), [("", 200, 400), ("?prepared_statement_cache_size=0", 0, 10)])
async def test_a_connection_for_reading_keeps_the_statements_of_all_cells(
    cells_url: str, option: str, least: int, most: int
) -> None:
    settings = Settings(_env_file=None, auth="none", database_url=SecretStr(cells_url + option), cells=4)
    async with bootstrap(settings) as service:
        reader = Reader(Cells(service.read_engine, CELLS))
        for number in range(200):
            await reader.fetch(text(f"SELECT {number} AS number"), {}, of="")
        (row,) = await reader.fetch(text("SELECT count(*) AS kept FROM pg_prepared_statements"), {}, of="")
    assert least <= row.kept <= most
