"""What is stored twice or must agree: the sums and the lines they sum up, the queue and the stock, clock and events.

Every page is one statement, and so one snapshot: what a transaction changes together is seen together, and traffic
cannot look like a difference. The database adds up; what comes back is a row for each product, batch or SKU of a page.
Mending happens under the lock of the product, and counts again there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import begin, connect

# What the lines of the batch b say, those that it holds and those that have left.
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
           stock.room, stock.has_wrong_batches, told.beyond, told.last_beyond, told.events, told.first_event
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
    ) AS told
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

# In a statement of its own: one that had to wait for the lock would see the lines as they were before.
_LOCK = text("SELECT backordered_qty FROM products WHERE sku = :sku FOR NO KEY UPDATE")
_QUEUED = text("SELECT coalesce(sum(qty), 0) FROM order_lines WHERE sku = :sku AND batch_number IS NULL")
_MEND_PRODUCT = text("UPDATE products SET backordered_qty = :qty WHERE sku = :sku")
# A batch whose lines hold more than it has is marked as full, so that at least nothing more is sold from it.
_MEND_BATCHES = text("""
    UPDATE batches AS b
    SET shipped_qty = least(new.gone, b.qty), allocated_qty = least(new.held, b.qty - least(new.gone, b.qty)),
        allocated_lines = new.lines
    FROM unnest(
        CAST(:numbers AS bigint[]), CAST(:held AS bigint[]), CAST(:lines AS bigint[]), CAST(:gone AS bigint[])
    ) AS new(number, held, lines, gone)
    WHERE b.sku = :sku AND b.number = new.number
""")

# From SKU to SKU along the index, however many events each has.
_SKUS_OF_EVENTS = text("""
    WITH RECURSIVE told AS (
        (SELECT subject, 1 AS step FROM events
         WHERE subject > :after AND sequence IS NOT NULL ORDER BY subject, sequence LIMIT 1)
        UNION ALL
        SELECT next.subject, told.step + 1
        FROM told CROSS JOIN LATERAL (
            SELECT subject FROM events
            WHERE subject > told.subject AND sequence IS NOT NULL ORDER BY subject, sequence LIMIT 1
        ) AS next
        WHERE told.step < :limit
    )
    SELECT told.subject AS sku,
           NOT EXISTS (SELECT FROM products WHERE products.sku = told.subject) AS is_orphan
    FROM told ORDER BY told.subject
""")


@dataclass(frozen=True, slots=True)
class CountedProduct:
    """A product beside what its rows add up to.

    `room` is what the lines leave free in the batch with most of it. `beyond` counts events that the product has not
    raised, up to `last_beyond`; `events` counts those that it has, from `first_event` on.
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
        """Whether a line waits that a batch could hold."""
        return self.smallest_queued is not None and self.smallest_queued <= self.room

    @property
    def missing_events(self) -> int:
        """How many events are not there although one before them is: a database may be older than its first events."""
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
        """Whether its lines want more than there is."""
        return self.held_qty + self.gone_qty > self.qty


class ReconciliationStore:
    """Counts, and mends the sums that are stored. At most `limit` rows come back from each call."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def products(self, after: str, limit: int) -> list[CountedProduct]:
        """The next products by SKU, all of them, each counted."""
        rows = await self._read(_PAGE_OF_PRODUCTS, after=after, limit=limit)
        return [CountedProduct(**row) for row in rows]

    async def next_sku(self, after: str) -> str | None:
        """The SKU of the next product, which is not counted; None behind the last."""
        rows = await self._read(_NEXT_SKU, after=after)
        return rows[0]["sku"] if rows else None

    async def product(self, sku: str) -> CountedProduct | None:
        """One product, counted; None where there is none."""
        rows = await self._read(_ONE_PRODUCT, sku=sku, limit=1)
        return CountedProduct(**rows[0]) if rows else None

    async def wrong_batches(self, sku: str, after: int, limit: int) -> list[WrongBatch]:
        """The next batches of the product, by number, whose sum is wrong."""
        rows = await self._read(_PAGE_OF_BATCHES, sku=sku, after=after, limit=limit)
        return [WrongBatch(**row) for row in rows]

    async def skus_of_events(self, after: str, limit: int) -> list[tuple[str, bool]]:
        """The next SKUs that have numbered events; the flag says that there is no product that numbered them."""
        rows = await self._read(_SKUS_OF_EVENTS, after=after, limit=limit)
        return [(row["sku"], row["is_orphan"]) for row in rows]

    async def repair_batches(self, sku: str, numbers: Sequence[int]) -> list[WrongBatch]:
        """Set the sums of these batches, as far as the batch allows. Returns those that were wrong under the lock."""
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
                await connection.execute(_MEND_BATCHES, {"sku": sku, **new})
            return wrong

    async def repair_product(self, sku: str) -> tuple[int, int] | None:
        """Set the sum of the queue. Returns what was stored and what the lines say, where they differed."""
        async with begin(self._engine) as connection:
            stored = (await connection.execute(_LOCK, {"sku": sku})).scalar_one_or_none()
            queued = (await connection.execute(_QUEUED, {"sku": sku})).scalar_one()
            if stored is None or stored == queued:
                return None
            await connection.execute(_MEND_PRODUCT, {"sku": sku, "qty": queued})
            return stored, queued

    async def _read(self, statement: Any, **arguments: Any) -> Sequence[Any]:  # noqa: ANN401 - as SQLAlchemy has them
        async with connect(self._engine) as connection:
            return (await connection.execute(statement, arguments)).mappings().all()
