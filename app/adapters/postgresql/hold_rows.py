"""Finds holds that have ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from app.adapters.postgresql import statements
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.rows import BATCH_WIDTH, BatchRow, LineRow
from app.domain.product import Product


@dataclass(frozen=True, slots=True)
class OverdueRows:
    """Holds that have ended: their rows with their batches, and by SKU their keys and the next end of a hold.

    `batches` are those of products that have more such holds, and the pieces of all of these on each batch.
    """

    rows: Sequence[asyncpg.Record]
    keys: dict[str, list[str]]
    ends: dict[str, datetime | None]
    batches: Sequence[tuple[BatchRow, int]]


async def find_overdue(connection: PipelinedConnection, products: Sequence[Product], limit: int) -> OverdueRows:
    """The holds of the products that have ended by the times of the products, at most `limit` of all together."""
    rows = await connection.fetch(statements.OVERDUE_HOLDS, *_named(products), limit + 1)
    ends = dict(await connection.fetch(statements.NEXT_HOLD_ENDS, *_named(products)))
    keys: dict[str, list[str]] = {product.sku: [] for product in products}
    for row in rows[:limit]:
        line = LineRow._make(row[BATCH_WIDTH:])
        keys[line.sku].append(line.key)
    if len(rows) <= limit:
        return OverdueRows(rows, keys, ends, ())
    # The product of the last row has more holds that have ended, and so may have each product without a row.
    last = LineRow._make(rows[limit][BATCH_WIDTH:]).sku
    unfinished = [product for product in products if product.sku == last or not keys[product.sku]]
    ends.update((product.sku, product.earliest_hold_end) for product in unfinished)
    quantities = await connection.fetch(statements.OVERDUE_QUANTITIES, *_named(unfinished))
    batches = [(BatchRow._make(row[:BATCH_WIDTH]), row[BATCH_WIDTH]) for row in quantities]
    return OverdueRows(rows[:limit], keys, ends, batches)


def _named(products: Sequence[Product]) -> tuple[list[str], list[datetime]]:
    return [product.sku for product in products], [product.now for product in products]
