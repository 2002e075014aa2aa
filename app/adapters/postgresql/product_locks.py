"""Locks the rows of products, in the order of their SKUs, and names the rows to read then."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import asyncpg

from app.adapters.postgresql import statements
from app.adapters.postgresql.event_ids import EventIds
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.rows import BATCH_WIDTH
from app.domain.product import Product
from app.domain.stock import split_line_key
from app.observability import metrics
from app.service_layer.lock_sets import LockSet


async def lock_products(
    connection: PipelinedConnection, skus: Sequence[str], *, shared: bool, is_locking: bool = True
) -> tuple[Sequence[asyncpg.Record], frozenset[str]]:
    """The locked rows, and the products that another transaction holds. Only a `shared` lock does not wait for them.

    Without `is_locking` the rows are read, and none is left out.
    """
    if not is_locking:
        return await connection.fetch(statements.PRODUCTS, skus), frozenset()
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


def rows_to_read(products: Mapping[str, Product], locks: LockSet, owners: Collection[str]) -> tuple[list[Any], ...]:
    """The arguments of BATCHES_AND_LINES. `owners` are the SKUs of batches that commands name.

    Products of which only the batches in some locations are read become partial. A product with a reorder point or with
    holds does not: the stock level needs all batches, and a hold that ends releases stock anywhere.
    """
    for sku in {sku for sku, _ in locks.locations}.difference(locks.skus, owners):
        product = products.get(sku)
        if product is not None and product.reorder_point is None and product.earliest_hold_end is None:
            product.is_partial = True
    everywhere = [product for product in products.values() if not product.is_partial]
    places = [(products[sku], location) for sku, location in locks.locations if sku in products]
    partial = [(product, location) for product, location in places if product.is_partial]
    lines = [(*split_line_key(key), sku) for key, sku in locks.lines if sku in products]
    return (
        [product.sku for product in everywhere],
        list(locks.batch_refs),
        [order_id for order_id, _, _ in lines],
        [sku for _, _, sku in lines],
        [product.next_expiry for product in everywhere],
        [product.sku for product, _ in partial],
        [location for _, location in partial],
        [product.next_expiry for product, _ in partial],
        [line for _, line, _ in lines],
    )


async def fetch_rows(
    connection: PipelinedConnection, named: tuple[list[Any], ...], ids: EventIds | None
) -> Sequence[asyncpg.Record]:
    """The rows for the arguments of BATCHES_AND_LINES. `ids`, if given, gets a block of ids drawn with them."""
    if ids is None:
        return await connection.fetch(statements.BATCHES_AND_LINES, *named)
    rows = await connection.fetch(statements.BATCHES_LINES_AND_IDS, *named)
    ids.start(next(row["number"] for row in reversed(rows) if row[0] is None and row[BATCH_WIDTH] is None))
    return rows
