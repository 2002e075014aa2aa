"""Compares data that must agree: stored sums and their lines, queues and stock, sequences and events.

Each page is one statement, so one snapshot: it sees all changes of a transaction or none, and traffic cannot look like
a difference. The database computes the sums and returns one row for each product, batch or SKU of a page. A repair
locks the product and counts again.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import begin, connect
from app.adapters.postgresql.counted_sums import CountedBatch, CountedHolds, CountedProduct
from app.adapters.postgresql.usable import CAN_BE_SERVED, IS_FIT

# The sums over the lines of the batch b that are not shipped, held or firm, and over those that are.
_LINES = """
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(l.qty), 0) AS qty, count(*) FILTER (WHERE l.held_until IS NULL) AS firm_lines,
               coalesce(sum(l.qty) FILTER (WHERE l.held_until IS NOT NULL), 0) AS held_qty
        FROM order_lines AS l
        WHERE l.sku = b.sku AND l.batch_number = b.number AND l.shipped IS NULL
    ) AS allocated
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(l.qty), 0) AS qty FROM order_lines AS l
        WHERE l.sku = b.sku AND l.batch_number = b.number AND l.shipped IS NOT NULL
    ) AS shipped
"""
_WRONG = """(
    (b.allocated_qty, b.allocated_lines, b.shipped_qty, b.held_qty)
    <> (allocated.qty, allocated.firm_lines, shipped.qty, allocated.held_qty)
)"""

_HOLDS = """
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(l.qty), 0) AS qty, min(l.held_until) AS first_end FROM order_lines AS l
        WHERE l.sku = p.sku AND l.held_until IS NOT NULL
    ) AS holds
"""

_PRODUCTS = """
    WITH page AS MATERIALIZED (
        SELECT sku, sequence, backordered_qty, held_qty, earliest_hold_end
        FROM products WHERE {named} ORDER BY sku LIMIT :limit
    )
    SELECT p.*, queue.qty AS queued_qty, queue.smallest AS smallest_queued,
           holds.qty AS held_qty_of_lines, holds.first_end AS first_hold_end,
           stock.room, stock.has_wrong_batches,
           numbered.beyond, numbered.last_beyond, numbered.events, numbered.first_event
    FROM page AS p
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or({wrong}), false) AS has_wrong_batches,
               coalesce(max(b.qty - allocated.qty - shipped.qty) FILTER (WHERE {fit}), 0) AS room
        FROM batches AS b {lines}
        WHERE b.sku = p.sku
    ) AS stock
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(l.qty), 0) AS qty, min(l.qty) FILTER (WHERE {can_be_served}) AS smallest
        FROM order_lines AS l
        WHERE l.sku = p.sku AND l.batch_number IS NULL
    ) AS queue
    {holds}
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE e.sequence > p.sequence) AS beyond,
               max(e.sequence) AS last_beyond,
               count(*) FILTER (WHERE e.sequence <= p.sequence) AS events,
               min(e.sequence) FILTER (WHERE e.sequence <= p.sequence) AS first_event
        FROM events AS e WHERE e.subject = p.sku AND e.sequence IS NOT NULL
    ) AS numbered
    ORDER BY p.sku
"""
_PARTS = {"lines": _LINES, "wrong": _WRONG, "holds": _HOLDS, "fit": IS_FIT, "can_be_served": CAN_BE_SERVED}
_NEXT_SKU = text("SELECT sku FROM products WHERE sku > :after ORDER BY sku LIMIT 1")
_PAGE_OF_PRODUCTS = text(_PRODUCTS.format(named="sku > :after", **_PARTS))
_ONE_PRODUCT = text(_PRODUCTS.format(named="sku = :sku", **_PARTS))

_BATCHES = """
    SELECT b.number, b.ref, b.qty, b.allocated_qty, b.allocated_lines, b.shipped_qty, b.held_qty,
           allocated.qty AS lines_allocated, allocated.firm_lines, shipped.qty AS lines_shipped,
           allocated.held_qty AS lines_held
    FROM batches AS b {lines}
    WHERE b.sku = :sku AND {named} AND {wrong} ORDER BY b.number
"""
_PAGE_OF_BATCHES = text(_BATCHES.format(named="b.number > :after", **_PARTS) + " LIMIT :limit")
_NAMED_BATCHES = text(_BATCHES.format(named="b.number = ANY(CAST(:numbers AS bigint[]))", **_PARTS))

# In a separate statement: one that waited for the lock would see the lines as of before the wait.
_LOCK = text("SELECT backordered_qty FROM products WHERE sku = :sku FOR NO KEY UPDATE")
_QUEUED = text("SELECT coalesce(sum(qty), 0) FROM order_lines WHERE sku = :sku AND batch_number IS NULL")
_REPAIR_PRODUCT = text("UPDATE products SET backordered_qty = :qty WHERE sku = :sku")
_HOLDS_OF_PRODUCT = text(
    f"""
    SELECT p.sku, p.held_qty, p.earliest_hold_end, holds.qty AS held_qty_of_lines, holds.first_end AS first_hold_end
    FROM products AS p
    {_HOLDS}
    WHERE p.sku = :sku
"""  # noqa: S608 - a constant
)
# An end that is too early is harmless: the first unit of work after it replaces it. least() ignores nulls.
_REPAIR_HOLDS = text("""
    UPDATE products
    SET held_qty = :held_qty, earliest_hold_end = least(earliest_hold_end, CAST(:first_end AS timestamptz))
    WHERE sku = :sku
""")
_REPAIR_BATCHES = text("""
    UPDATE batches AS b
    SET allocated_qty = new.allocated, allocated_lines = new.lines, shipped_qty = new.shipped, held_qty = new.held
    FROM unnest(
        CAST(:numbers AS bigint[]), CAST(:allocated AS bigint[]), CAST(:lines AS bigint[]),
        CAST(:shipped AS bigint[]), CAST(:held AS bigint[])
    ) AS new(number, allocated, lines, shipped, held)
    WHERE b.sku = :sku AND b.number = new.number
""")

# A skip scan of the index: its cost does not depend on the number of events of each SKU.
_SKUS_OF_EVENTS = text("""
    WITH RECURSIVE numbered AS (
        (SELECT subject, 1 AS step FROM events
         WHERE subject > :after AND sequence IS NOT NULL ORDER BY subject, sequence LIMIT 1)
        UNION ALL
        SELECT next.subject, numbered.step + 1
        FROM numbered CROSS JOIN LATERAL (
            SELECT subject FROM events
            WHERE subject > numbered.subject AND sequence IS NOT NULL ORDER BY subject, sequence LIMIT 1
        ) AS next
        WHERE numbered.step < :limit
    )
    SELECT numbered.subject AS sku,
           NOT EXISTS (SELECT FROM products WHERE products.sku = numbered.subject) AS is_orphan
    FROM numbered ORDER BY numbered.subject
""")


class ReconciliationStore:
    """Counts products and repairs their sums. Each method returns at most `limit` rows.

    Each method raises DatabaseUnavailableError.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def products(self, after: str, limit: int) -> list[CountedProduct]:
        """The next products by SKU, counted."""
        rows = await self._read(_PAGE_OF_PRODUCTS, after=after, limit=limit)
        return [CountedProduct(**row) for row in rows]

    async def next_sku(self, after: str) -> str | None:
        """The SKU of the next product; None behind the last."""
        rows = await self._read(_NEXT_SKU, after=after)
        return rows[0]["sku"] if rows else None

    async def product(self, sku: str) -> CountedProduct | None:
        """One product, counted; None if it does not exist."""
        rows = await self._read(_ONE_PRODUCT, sku=sku, limit=1)
        return CountedProduct(**rows[0]) if rows else None

    async def wrong_batches(self, sku: str, after: int, limit: int) -> list[CountedBatch]:
        """The next batches of the product, by number, whose sums are wrong."""
        rows = await self._read(_PAGE_OF_BATCHES, sku=sku, after=after, limit=limit)
        return [CountedBatch(**row) for row in rows]

    async def skus_of_events(self, after: str, limit: int) -> list[tuple[str, bool]]:
        """The next SKUs that have numbered events, each with whether its product is missing."""
        rows = await self._read(_SKUS_OF_EVENTS, after=after, limit=limit)
        return [(row["sku"], row["is_orphan"]) for row in rows]

    async def repair_batches(self, sku: str, numbers: Sequence[int]) -> list[CountedBatch]:
        """Set the sums of the batches, up to their quantities. Returns those that were wrong under the lock."""
        async with begin(self._engine) as connection:
            await connection.execute(_LOCK, {"sku": sku})
            named = await connection.execute(_NAMED_BATCHES, {"sku": sku, "numbers": list(numbers)})
            wrong = [CountedBatch(**row) for row in named.mappings()]
            if wrong:
                sums = zip(*(batch.storable_sums for batch in wrong), strict=True)
                new = dict(zip(("allocated", "lines", "shipped", "held"), map(list, sums), strict=True))
                numbers = [batch.number for batch in wrong]
                await connection.execute(_REPAIR_BATCHES, {"sku": sku, "numbers": numbers, **new})
            return wrong

    async def repair_product(self, sku: str) -> tuple[int, int] | None:
        """Set the sum of the queue. Returns the stored sum and that of the lines if they differed."""
        async with begin(self._engine) as connection:
            stored = (await connection.execute(_LOCK, {"sku": sku})).scalar_one_or_none()
            queued = (await connection.execute(_QUEUED, {"sku": sku})).scalar_one()
            if stored is None or stored == queued:
                return None
            await connection.execute(_REPAIR_PRODUCT, {"sku": sku, "qty": queued})
            return stored, queued

    async def repair_holds(self, sku: str) -> CountedHolds | None:
        """Set the sum and the earliest end of the holds. Returns both as found if they were wrong under the lock."""
        async with begin(self._engine) as connection:
            await connection.execute(_LOCK, {"sku": sku})
            row = (await connection.execute(_HOLDS_OF_PRODUCT, {"sku": sku})).mappings().one_or_none()
            holds = None if row is None else CountedHolds(**row)
            if holds is None or not holds.are_wrong:
                return None
            new = {"held_qty": holds.held_qty_of_lines, "first_end": holds.first_hold_end}
            await connection.execute(_REPAIR_HOLDS, {"sku": sku, **new})
            return holds

    async def _read(self, statement: Any, **arguments: Any) -> Sequence[Any]:  # noqa: ANN401 - SQLAlchemy's types
        async with connect(self._engine) as connection:
            return (await connection.execute(statement, arguments)).mappings().all()
