"""Compares data that must agree: stored sums and their lines, queues and stock, sequences and events.

Each page is one statement, so one snapshot: it sees all changes of a transaction or none, and traffic cannot look like
a difference. The database computes the sums and returns one row for each product, batch or SKU of a page. A repair
locks the product and counts again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import begin, connect

# The sums over the lines of the batch b: those that it holds, and those that were shipped.
_HELD = """
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(l.qty), 0) AS qty, count(*) AS lines FROM order_lines AS l
        WHERE l.sku = b.sku AND l.batch_number = b.number AND l.shipped IS NULL
    ) AS held
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(l.qty), 0) AS qty FROM order_lines AS l
        WHERE l.sku = b.sku AND l.batch_number = b.number AND l.shipped IS NOT NULL
    ) AS gone
"""
_WRONG = "(b.allocated_qty, b.allocated_lines, b.shipped_qty) <> (held.qty, held.lines, gone.qty)"

_PRODUCTS = """
    WITH page AS MATERIALIZED (
        SELECT sku, sequence, backordered_qty FROM products WHERE {named} ORDER BY sku LIMIT :limit
    )
    SELECT page.sku, page.sequence, page.backordered_qty, queue.qty AS queued_qty, queue.smallest AS smallest_queued,
           stock.room, stock.has_wrong_batches,
           numbered.beyond, numbered.last_beyond, numbered.events, numbered.first_event
    FROM page
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or({wrong}), false) AS has_wrong_batches,
               coalesce(max(b.qty - held.qty - gone.qty), 0) AS room
        FROM batches AS b {held}
        WHERE b.sku = page.sku
    ) AS stock
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(l.qty), 0) AS qty, min(l.qty) AS smallest FROM order_lines AS l
        WHERE l.sku = page.sku AND l.batch_number IS NULL
    ) AS queue
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE e.sequence > page.sequence) AS beyond,
               max(e.sequence) AS last_beyond,
               count(*) FILTER (WHERE e.sequence <= page.sequence) AS events,
               min(e.sequence) FILTER (WHERE e.sequence <= page.sequence) AS first_event
        FROM events AS e WHERE e.subject = page.sku AND e.sequence IS NOT NULL
    ) AS numbered
    ORDER BY page.sku
"""
_NEXT_SKU = text("SELECT sku FROM products WHERE sku > :after ORDER BY sku LIMIT 1")
_PAGE_OF_PRODUCTS = text(_PRODUCTS.format(named="sku > :after", held=_HELD, wrong=_WRONG))
_ONE_PRODUCT = text(_PRODUCTS.format(named="sku = :sku", held=_HELD, wrong=_WRONG))

_BATCHES = """
    SELECT b.number, b.ref, b.qty, b.allocated_qty, b.allocated_lines, b.shipped_qty,
           held.qty AS held_qty, held.lines AS held_lines, gone.qty AS gone_qty
    FROM batches AS b {held}
    WHERE b.sku = :sku AND {named} AND {wrong} ORDER BY b.number
"""
_PAGE_OF_BATCHES = text(_BATCHES.format(named="b.number > :after", held=_HELD, wrong=_WRONG) + " LIMIT :limit")
_NAMED_BATCHES = text(_BATCHES.format(named="b.number = ANY(CAST(:numbers AS bigint[]))", held=_HELD, wrong=_WRONG))

# In a separate statement: one that waited for the lock would see the lines as of before the wait.
_LOCK = text("SELECT backordered_qty FROM products WHERE sku = :sku FOR NO KEY UPDATE")
_QUEUED = text("SELECT coalesce(sum(qty), 0) FROM order_lines WHERE sku = :sku AND batch_number IS NULL")
_REPAIR_PRODUCT = text("UPDATE products SET backordered_qty = :qty WHERE sku = :sku")
# A batch whose lines hold more than its quantity is marked as full, so that it receives no further lines.
_REPAIR_BATCHES = text("""
    UPDATE batches AS b
    SET shipped_qty = least(new.gone, b.qty), allocated_qty = least(new.held, b.qty - least(new.gone, b.qty)),
        allocated_lines = new.lines
    FROM unnest(
        CAST(:numbers AS bigint[]), CAST(:held AS bigint[]), CAST(:lines AS bigint[]), CAST(:gone AS bigint[])
    ) AS new(number, held, lines, gone)
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


@dataclass(frozen=True, slots=True)
class CountedProduct:
    """A product with the sums over its rows.

    `room` is the largest number of pieces that is free in one batch. `beyond` counts events above the sequence of the
    product, up to `last_beyond`; `events` counts the others, from `first_event` on.
    """

    sku: str
    sequence: int
    backordered_qty: int
    queued_qty: int
    smallest_queued: int | None
    room: int
    has_wrong_batches: bool
    beyond: int
    last_beyond: int | None
    events: int
    first_event: int | None

    @property
    def queue_fits(self) -> bool:
        """Whether a batch could hold a line of the queue."""
        return self.smallest_queued is not None and self.smallest_queued <= self.room

    @property
    def missing_events(self) -> int:
        """How many events are missing after the first one: a database may be older than its first events."""
        if self.first_event is None:
            return 0
        return self.sequence - self.first_event + 1 - self.events


@dataclass(frozen=True, slots=True)
class WrongBatch:
    """A batch whose sums are not those of its lines: `held_qty` in `held_lines`, and `gone_qty` shipped."""

    number: int
    ref: str
    qty: int
    allocated_qty: int
    allocated_lines: int
    shipped_qty: int
    held_qty: int
    held_lines: int
    gone_qty: int

    @property
    def is_oversold(self) -> bool:
        """Whether its lines hold more than its quantity."""
        return self.held_qty + self.gone_qty > self.qty


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

    async def wrong_batches(self, sku: str, after: int, limit: int) -> list[WrongBatch]:
        """The next batches of the product, by number, whose sums are wrong."""
        rows = await self._read(_PAGE_OF_BATCHES, sku=sku, after=after, limit=limit)
        return [WrongBatch(**row) for row in rows]

    async def skus_of_events(self, after: str, limit: int) -> list[tuple[str, bool]]:
        """The next SKUs that have numbered events, each with whether its product is missing."""
        rows = await self._read(_SKUS_OF_EVENTS, after=after, limit=limit)
        return [(row["sku"], row["is_orphan"]) for row in rows]

    async def repair_batches(self, sku: str, numbers: Sequence[int]) -> list[WrongBatch]:
        """Set the sums of the batches, up to their quantities. Returns those that were wrong under the lock."""
        async with begin(self._engine) as connection:
            await connection.execute(_LOCK, {"sku": sku})
            named = await connection.execute(_NAMED_BATCHES, {"sku": sku, "numbers": list(numbers)})
            wrong = [WrongBatch(**row) for row in named.mappings()]
            if wrong:
                new = {
                    "numbers": [batch.number for batch in wrong],
                    "held": [batch.held_qty for batch in wrong],
                    "lines": [batch.held_lines for batch in wrong],
                    "gone": [batch.gone_qty for batch in wrong],
                }
                await connection.execute(_REPAIR_BATCHES, {"sku": sku, **new})
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

    async def _read(self, statement: Any, **arguments: Any) -> Sequence[Any]:  # noqa: ANN401 - SQLAlchemy's types
        async with connect(self._engine) as connection:
            return (await connection.execute(statement, arguments)).mappings().all()
