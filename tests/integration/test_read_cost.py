"""A page costs as many rows and index entries as it shows, whatever its position and the size of the tables."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import date

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import create_engine
from app.embedded.postgresql import EmbeddedPostgresql
from app.read_model.availability import Question
from app.read_model.pagination import COUNT_LIMIT, Page
from app.read_model.queries import Queries
from tests.conftest import new_database
from tests.support.cells import one_cell_only, queries_over
from tests.support.database import raw_connection

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    one_cell_only("the statements are the same in each cell, and what they read is counted in one"),
]

MANY = 30_000
LIMIT = 20
DAY = date(2011, 1, 1)
# Products of which every tenth is watched and low, and every tenth backordered; most batches have been sold out.
GATHER = f"""
    INSERT INTO products (sku, sequence, backordered_qty, reorder_point)
        SELECT 'S-' || n, 1, CASE WHEN n % 10 = 0 THEN 1 ELSE 0 END, CASE WHEN n % 10 = 1 THEN 9 END
        FROM generate_series(1, {MANY}) n;
    INSERT INTO batches (sku, number, ref, qty, first_qty, shipped_qty, eta)
        SELECT 'CHAIR', n, 'chairs-' || n, 5, 5, 5, CASE WHEN n % 10 = 0 THEN DATE '2011-01-01' END
        FROM generate_series(2, {MANY}) n;
    INSERT INTO batches (sku, number, ref, qty, first_qty) SELECT 'S-' || n, 1, 's-' || n, 5, 5
        FROM generate_series(1, {MANY}) n;
    INSERT INTO order_lines (order_id, sku, qty, requested)
        SELECT 'order-' || n, 'CHAIR', 1, n + {MANY} FROM generate_series(1, {MANY}) n;
    INSERT INTO events (shard, subject, sequence, type, data, correlation_id, causation_id)
        SELECT 0, 'CHAIR', n, 'line_allocated.v1', '{{}}', 'x', 'x' FROM generate_series(2, {MANY}) n;
    UPDATE products SET sequence = {MANY} WHERE sku = 'CHAIR';
"""
FIRST = """
    INSERT INTO products (sku, sequence) VALUES ('CHAIR', 1);
    INSERT INTO batches (sku, number, ref, qty, first_qty) VALUES ('CHAIR', 1, 'chairs-1', 5, 5);
    INSERT INTO events (shard, subject, sequence, type, data, correlation_id, causation_id)
        VALUES (0, 'CHAIR', 1, 'batch_created.v1', '{}', 'x', 'x');
"""
READ = """
    SELECT sum(seq_scan)::int, sum(seq_tup_read)::int, (SELECT sum(idx_tup_read)::int FROM pg_stat_user_indexes)
    FROM pg_stat_user_tables
"""

Ask = Callable[[Queries, str | None], Awaitable[Page]]

PAGES: dict[str, Ask] = {
    "products": lambda queries, cursor: queries.lists.products(
        low_stock=False, backordered=False, limit=LIMIT, cursor=cursor
    ),
    "low on stock": lambda queries, cursor: queries.lists.products(
        low_stock=True, backordered=False, limit=LIMIT, cursor=cursor
    ),
    "backordered": lambda queries, cursor: queries.lists.products(
        low_stock=False, backordered=True, limit=LIMIT, cursor=cursor
    ),
    "batches": lambda queries, cursor: queries.lists.batches(sku=None, arriving_by=None, limit=LIMIT, cursor=cursor),
    "batches of one": lambda queries, cursor: queries.lists.batches(
        sku="CHAIR", arriving_by=None, limit=LIMIT, cursor=cursor
    ),
    "batches arriving": lambda queries, cursor: queries.lists.batches(
        sku=None, arriving_by=DAY, limit=LIMIT, cursor=cursor
    ),
    "batches of one arriving": lambda queries, cursor: queries.lists.batches(
        sku="CHAIR", arriving_by=DAY, limit=LIMIT, cursor=cursor
    ),
    "backorders": lambda queries, cursor: queries.lists.backorders(sku=None, limit=LIMIT, cursor=cursor),
    "backorders of one": lambda queries, cursor: queries.lists.backorders(sku="CHAIR", limit=LIMIT, cursor=cursor),
    "batches by ETA": lambda queries, cursor: queries.lists.batches(sort="eta", limit=LIMIT, cursor=cursor),
    "batches arriving by ETA": lambda queries, cursor: queries.lists.batches(
        sort="eta", arriving_by=DAY, limit=LIMIT, cursor=cursor
    ),
    "late batches": lambda queries, cursor: queries.lists.batches(late=True, limit=LIMIT, cursor=cursor),
    "late batches by ETA": lambda queries, cursor: queries.lists.batches(
        late=True, sort="eta", limit=LIMIT, cursor=cursor
    ),
    "backorders of one by age": lambda queries, cursor: queries.lists.backorders(
        sku="CHAIR", sort="placed_at", limit=LIMIT, cursor=cursor
    ),
    "backorders by age": lambda queries, cursor: queries.lists.backorders(sort="placed_at", limit=LIMIT, cursor=cursor),
    "history": lambda queries, cursor: queries.history.page("CHAIR", limit=LIMIT, cursor=cursor),
}


class Measured:
    """The read side over one connection, so that every statement runs with the plan that it was first given."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.queries = queries_over(engine)

    async def read(self) -> tuple[int, int, int]:
        """Scans of tables, rows that they read, and index entries that were read, so far."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT pg_stat_force_next_flush()"))
            await connection.commit()
            scans, rows, entries = (await connection.execute(text(READ))).one()
            return scans, rows, entries

    async def cost(self, ask: Ask, cursor: str | None) -> tuple[Page, int]:
        """A page, and how many index entries it took; no table is read from end to end."""
        scans, rows, entries = await self.read()
        page = await ask(self.queries, cursor)
        scans_after, rows_after, entries_after = await self.read()
        assert (scans_after, rows_after) == (scans, rows), "a table was scanned"
        return page, entries_after - entries


@pytest.fixture(scope="module", params=[False, True], ids=["planned-while-empty", "analysed"])
def database(
    postgresql: EmbeddedPostgresql, template_database: str, request: pytest.FixtureRequest
) -> Iterator[tuple[str, bool]]:
    """The URL of a database that only these tests use, and whether it is to be analysed."""
    with new_database(postgresql, f"TEMPLATE {template_database}") as url:
        yield url, request.param


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def measured(database: tuple[str, bool]) -> AsyncIterator[Measured]:
    """Tables that have grown, and plans from before or from after that. The tests do not write."""
    database_url, is_analysed = database
    engine = create_engine(database_url, pool_size=1)
    measured = Measured(engine)
    async with raw_connection(database_url) as admin:
        for table in ("products", "batches", "order_lines", "events"):
            await admin.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        await admin.execute(FIRST)
        if not is_analysed:
            # PostgreSQL settles on a plan after five runs.
            for _ in range(8):
                for ask in PAGES.values():
                    await ask(measured.queries, None)
                await measured.queries.lists.products(sold_out=True, limit=LIMIT, cursor=None)
                await measured.queries.overview()
                await measured.queries.activity()
                await measured.queries.lists.shortages(limit=LIMIT)
                await measured.queries.lists.lines_of("s-1", limit=LIMIT, cursor=None)
                await measured.queries.history.of_batch("S-1", "s-1")
                await measured.queries.search("S-")
                await measured.queries.history.of_order("order-1")
        await admin.execute(GATHER)
        if is_analysed:
            await admin.execute("ANALYZE")
    yield measured
    await engine.dispose()


async def test_a_page_costs_what_it_shows(measured: Measured) -> None:
    for name, ask in PAGES.items():
        page, first = await measured.cost(ask, None)
        assert len(page.items) == LIMIT, name
        counted = 0 if name == "history" else min(page.count, COUNT_LIMIT) + 1
        # For each item of a list of products there is one batch to be looked up, and for each that is counted as low.
        counted *= 2 if name == "low on stock" else 1
        assert first <= counted + 4 * LIMIT, name
        costs = [first]
        for _ in range(8):
            assert page.next_cursor is not None, name
            page, cost = await measured.cost(ask, page.next_cursor)
            costs.append(cost)
        assert max(costs) <= first + 2 * LIMIT, (name, costs)


async def test_availability_costs_the_open_batches(measured: Measured) -> None:
    _, _, before = await measured.read()
    for qty in (5, 6):
        await measured.queries.availability(Question("CHAIR", qty))
    _, _, after = await measured.read()
    assert after - before <= 8


async def test_the_count_of_a_history_costs_nothing(measured: Measured) -> None:
    page = await measured.queries.history.page("CHAIR", limit=1, cursor=None)
    assert (page.count, page.count_is_exact) == (MANY, True)


async def test_a_page_of_sold_out_products_costs_the_products_that_it_passes(measured: Measured) -> None:
    async def sold_out(queries: Queries, cursor: str | None) -> Page:
        return await queries.lists.products(sold_out=True, limit=LIMIT, cursor=cursor)

    page, cost = await measured.cost(sold_out, None)
    # No product is sold out, so the page passes all of them, and looks up a batch for each.
    assert (len(page.items), page.count, page.count_is_exact) == (0, 0, False)
    assert cost <= 2 * (MANY + COUNT_LIMIT) + 4 * LIMIT


async def test_the_overview_costs_no_more_than_the_limits_of_its_counts(measured: Measured) -> None:
    scans, rows, entries = await measured.read()
    found = await measured.queries.overview()
    scans_after, rows_after, entries_after = await measured.read()
    # Dead letters and the outbox are empty; reading an empty table is a scan without rows.
    assert rows_after == rows
    assert scans_after - scans <= 2
    ages = found.backorders
    counts = (found.low_stock, found.sold_out, found.late_batches, ages.under_1_day, found.allocations_today)
    # Watched products, a batch for each; all products, a batch for each; lines; late batches; events.
    assert entries_after - entries <= 2 * 3_000 + 2 * COUNT_LIMIT + COUNT_LIMIT + 3_000 + COUNT_LIMIT + 100
    assert [count.count_is_exact for count in counts] == [True, False, True, False, False]
    assert (found.low_stock.count, found.late_batches.count, found.allocations_today.count) == (
        3_000,
        3_000,
        COUNT_LIMIT,
    )


async def test_activity_costs_the_events_of_today(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    scans, rows, before = await measured.read()
    found = await measured.queries.activity()
    scans_after, rows_after, after = await measured.read()
    assert (scans_after, rows_after) == (scans, rows), "a table was scanned"
    assert sum(hour.allocations for hour in found.hours) == MANY - 1
    assert found.hours_are_complete
    # The bisection probes an id at each of its steps.
    assert MANY <= after - before <= MANY + 500 + 40


async def test_shortages_cost_the_products_that_are_compared(measured: Measured) -> None:
    scans, rows, before = await measured.read()
    found = await measured.queries.lists.shortages(limit=LIMIT)
    scans_after, rows_after, after = await measured.read()
    assert (scans_after, rows_after) == (scans, rows), "a table was scanned"
    assert (len(found.items), found.count, found.count_is_exact) == (LIMIT, 6_000, True)
    # Products with backorders; watched products, and a batch for each.
    assert after - before <= 3_000 + 2 * 3_000 + 2 * LIMIT + 100


async def test_the_lines_and_the_events_of_a_batch_cost_what_they_show(measured: Measured) -> None:
    scans, rows, before = await measured.read()
    found = await measured.queries.lists.lines_of("s-1", limit=LIMIT, cursor=None)
    assert (found.items, found.count) == ([], 0)
    assert await measured.queries.history.of_batch("S-1", "s-1") == []
    scans_after, rows_after, after = await measured.read()
    assert (scans_after, rows_after) == (scans, rows), "a table was scanned"
    assert after - before <= 20


async def test_a_search_and_the_events_of_an_order_cost_what_they_show(measured: Measured) -> None:
    scans, rows, before = await measured.read()
    found = await measured.queries.search("order-1")
    assert (len(found.orders), found.skus, found.batches) == (10, [], [])
    assert len((await measured.queries.search("S-")).skus) == 10
    assert await measured.queries.history.of_order("order-1") == []
    scans_after, rows_after, after = await measured.read()
    assert (scans_after, rows_after) == (scans, rows), "a table was scanned"
    # A search reads up to 100 lines of orders, 10 products and 10 batches.
    assert after - before <= 100 + 2 * 20 + 10
