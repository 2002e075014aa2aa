"""Locks the rows of products, in the order of their SKUs."""

import time
from collections.abc import Sequence

import asyncpg

from app.adapters.postgresql import statements
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.observability import metrics


async def lock_products(
    connection: PipelinedConnection, skus: Sequence[str], *, shared: bool
) -> tuple[Sequence[asyncpg.Record], frozenset[str]]:
    """The locked rows, and the products that another transaction holds. Only a `shared` lock does not wait for them."""
    asked = time.perf_counter()
    try:
        locked = await connection.fetch(statements.LOCK_FREE_PRODUCTS if shared else statements.LOCK_PRODUCTS, skus)
    finally:
        # A wait that fails is the longest of all.
        metrics.lock_wait_seconds.observe(time.perf_counter() - asked)
    if not shared or len(locked) == len(skus):
        return locked, frozenset()
    found = {row["sku"] for row in locked}
    others = await connection.fetch(statements.EXISTING_PRODUCTS, [sku for sku in skus if sku not in found])
    return locked, frozenset(row["sku"] for row in others)
