"""Counts a product that is too large for one statement: each statement reads at most `PIECE` lines or events.

A cursor reads the lines in one read-only transaction, so in one snapshot, and traffic cannot look like a difference.
Events need no snapshot, because stored events never change.
"""

from collections import Counter
from dataclasses import replace
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.adapters.postgresql.connections import begin, connect
from app.adapters.postgresql.counted_sums import CountedBatch, CountedProduct
from app.adapters.postgresql.usable import CAN_BE_SERVED, IS_FIT

PIECE = 20_000
"""How many lines or events one statement reads."""

# The transaction locks nothing, so it may last longer than others.
_NO_TRANSACTION_TIMEOUT = text("SET LOCAL transaction_timeout = 0")
_PRODUCT = text("SELECT sequence, backordered_qty, held_qty, earliest_hold_end FROM products WHERE sku = :sku")
_LINES = text(f"""
    SELECT batch_number, FALSE AS has_shipped, qty, held_until, FALSE AS can_be_served FROM order_lines
    WHERE sku = :sku AND batch_number IS NOT NULL AND shipped IS NULL
    UNION ALL
    SELECT batch_number, TRUE, qty, NULL, FALSE FROM order_lines WHERE sku = :sku AND shipped IS NOT NULL
    UNION ALL
    SELECT NULL, FALSE, qty, NULL, {CAN_BE_SERVED} FROM order_lines AS l WHERE sku = :sku AND batch_number IS NULL
""")  # noqa: S608 - constants
_BATCHES = text(f"""
    SELECT number, ref, qty, allocated_qty, allocated_lines, shipped_qty, held_qty, {IS_FIT} AS is_fit
    FROM batches WHERE sku = :sku
""")  # noqa: S608 - constants
# By the index: the first event, and the last one above the sequence of the product.
_ENDS = text("""
    SELECT (SELECT sequence FROM events WHERE subject = :sku AND sequence IS NOT NULL
            ORDER BY sequence LIMIT 1) AS first_event,
           (SELECT sequence FROM events WHERE subject = :sku AND sequence > :sequence
            ORDER BY sequence DESC LIMIT 1) AS last_beyond
""")
_EVENTS = text("""
    SELECT count(*) AS number, max(sequence) AS last FROM (
        SELECT sequence FROM events WHERE subject = :sku AND sequence > :after AND sequence <= :upto
        ORDER BY sequence LIMIT :piece
    ) AS some_events
""")


async def count_in_pieces(engine: AsyncEngine, sku: str) -> tuple[CountedProduct, list[CountedBatch]] | None:
    """The product, counted, and its batches whose sums are wrong; None if it does not exist.

    Raises DatabaseUnavailableError.
    """
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    async with begin(snapshot) as connection:
        await connection.execute(_NO_TRANSACTION_TIMEOUT)
        stored = (await connection.execute(_PRODUCT, {"sku": sku})).one_or_none()
        if stored is None:
            return None
        lines = await _sum_up(connection, sku)
        room, wrong = 0, []
        stream = await connection.stream(_BATCHES, {"sku": sku}, execution_options={"yield_per": PIECE})
        async for row in stream.mappings():
            values = dict(row)
            number, is_fit = values["number"], values.pop("is_fit")
            batch = CountedBatch(
                **values,
                lines_allocated=lines.allocated[number],
                firm_lines=lines.firm_lines[number],
                lines_shipped=lines.shipped[number],
                lines_held=lines.held[number],
            )
            if is_fit:
                room = max(room, batch.qty - batch.lines_allocated - batch.lines_shipped)
            if batch.has_wrong_sums or batch.has_wrong_holds:
                wrong.append(batch)
        ends = (await connection.execute(_ENDS, {"sku": sku, "sequence": stored.sequence})).one()
    counted = CountedProduct(
        sku=sku,
        sequence=stored.sequence,
        backordered_qty=stored.backordered_qty,
        held_qty=stored.held_qty,
        earliest_hold_end=stored.earliest_hold_end,
        held_qty_of_lines=lines.held.total(),
        first_hold_end=lines.first_hold_end,
        queued_qty=lines.queued_qty,
        smallest_queued=lines.smallest_queued,
        room=room,
        has_wrong_batches=bool(wrong),
        beyond=0,
        last_beyond=ends.last_beyond,
        events=0,
        first_event=None if ends.first_event is None or ends.first_event > stored.sequence else ends.first_event,
    )
    return await _with_events(engine, counted), sorted(wrong, key=lambda batch: batch.number)


class _Lines:
    """The sums over the lines of a product, by batch and in the queue."""

    def __init__(self) -> None:
        self.allocated: Counter[int] = Counter()
        self.firm_lines: Counter[int] = Counter()
        self.shipped: Counter[int] = Counter()
        self.held: Counter[int] = Counter()
        self.first_hold_end: datetime | None = None
        self.queued_qty = 0
        self.smallest_queued: int | None = None


async def _sum_up(connection: AsyncConnection, sku: str) -> _Lines:
    lines = _Lines()
    stream = await connection.stream(_LINES, {"sku": sku}, execution_options={"yield_per": PIECE})
    async for number, has_shipped, qty, held_until, can_be_served in stream:
        if number is None:
            lines.queued_qty += qty
            if can_be_served:
                lines.smallest_queued = qty if lines.smallest_queued is None else min(qty, lines.smallest_queued)
        elif has_shipped:
            lines.shipped[number] += qty
        else:
            lines.allocated[number] += qty
            if held_until is None:
                lines.firm_lines[number] += 1
            else:
                lines.held[number] += qty
                lines.first_hold_end = min(held_until, lines.first_hold_end or held_until)
    return lines


async def _with_events(engine: AsyncEngine, product: CountedProduct) -> CountedProduct:
    beyond = 0
    if product.last_beyond is not None:
        beyond = await _count_events(engine, product.sku, product.sequence, product.last_beyond)
    events = await _count_events(engine, product.sku, 0, product.sequence)
    return replace(product, events=events, beyond=beyond)


async def _count_events(engine: AsyncEngine, sku: str, after: int, upto: int) -> int:
    number = 0
    async with connect(engine) as connection:
        while True:
            piece = {"sku": sku, "after": after, "upto": upto, "piece": PIECE}
            found = (await connection.execute(_EVENTS, piece)).one()
            # A transaction for each statement, so that none meets the time limit of transactions.
            await connection.commit()
            number += int(found.number)
            if found.number < PIECE:
                return number
            after = int(found.last)
