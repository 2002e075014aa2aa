"""Finds holds that have ended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from app.adapters.postgresql import statements
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.rows import BATCH_WIDTH, LineRow
from app.domain.product import Product

Clock = Callable[[datetime], datetime]
"""Returns the time to use in place of the time of the database. Tests move it."""


@dataclass(frozen=True, slots=True)
class OverdueRows:
    """Holds that have ended: their rows with their batches, and by SKU their orders and the next end of a hold."""

    rows: Sequence[asyncpg.Record]
    order_ids: dict[str, list[str]]
    ends: dict[str, datetime | None]


async def find_overdue(connection: PipelinedConnection, products: Sequence[Product], limit: int) -> OverdueRows:
    """The holds of the products that have ended by the times of the products, at most `limit` of all together."""
    named = ([product.sku for product in products], [product.now for product in products])
    rows = await connection.fetch(statements.OVERDUE_HOLDS, *named, limit + 1)
    ends = dict(await connection.fetch(statements.NEXT_HOLD_ENDS, *named))
    order_ids: dict[str, list[str]] = {product.sku: [] for product in products}
    for row in rows[:limit]:
        line = LineRow._make(row[BATCH_WIDTH:])
        order_ids[line.sku].append(line.order_id)
    if len(rows) > limit:
        # The product of the last row has more holds that have ended, and so may have each product without a row.
        last = LineRow._make(rows[limit][BATCH_WIDTH:]).sku
        unfinished = {last, *(sku for sku, orders in order_ids.items() if not orders)}
        ends.update((product.sku, product.earliest_hold_end) for product in products if product.sku in unfinished)
    return OverdueRows(rows[:limit], order_ids, ends)
