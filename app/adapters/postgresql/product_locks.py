"""Locks the rows of products, in the order of their SKUs, and reads what a group of commands needs of them."""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from app.adapters.postgresql import statements
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.rows import BatchRow, LineRow, ProductRow, batches_and_lines
from app.domain.stock import split_line_key
from app.observability import metrics
from app.service_layer.lock_sets import LockSet

_IS_WHOLE = len(ProductRow._fields)
_IS_CURRENT = _IS_WHOLE + 1
_FIRST_OF_BATCH = _IS_CURRENT + 1


@dataclass(frozen=True, slots=True)
class ReadRows:
    """What the statement returned at `read_at`: products, and pairs of a batch and a line, where one may be missing.

    Of the products in `partial` not all usable batches were read. `elsewhere` are products that another transaction
    holds.
    """

    products: Sequence[ProductRow]
    partial: frozenset[str]
    elsewhere: frozenset[str]
    read_at: datetime
    batches_and_lines: Iterable[tuple[BatchRow | None, LineRow | None]]


async def read_products(
    connection: PipelinedConnection, locks: LockSet, owners: Collection[str], *, locking: bool, shared: bool
) -> ReadRows:
    """Read the products with their batches and lines that are named; `owners` are the SKUs of the batches named.

    Without `locking`, nothing is locked. Only a `shared` lock does not wait for products that another transaction
    holds, and leaves them out.
    """
    statement = statements.LOCK_FREE_PRODUCTS if shared else statements.LOCK_PRODUCTS
    arguments = _arguments(locks, owners)
    asked = time.perf_counter()
    try:
        rows = await connection.fetch(statement if locking else statements.READ_PRODUCTS, *arguments)
        while not _is_current(rows):
            # Another transaction changed a product before this one got its lock, which it has now.
            rows = await connection.fetch(statement, *arguments)
    finally:
        # A wait that fails is the longest of all.
        if locking:
            metrics.lock_wait_seconds.observe(time.perf_counter() - asked)
    products = [row for row in rows if row[0] is not None]
    elsewhere: Iterable[asyncpg.Record] = ()
    if locking and shared and len(products) < len(arguments[0]):
        found = {row[0] for row in products}
        others = [sku for sku in arguments[0] if sku not in found]
        elsewhere = await connection.fetch(statements.EXISTING_PRODUCTS, others)
    return ReadRows(
        [ProductRow._make(row[:_IS_WHOLE]) for row in products],
        frozenset(row[0] for row in products if not row[_IS_WHOLE]),
        frozenset(row["sku"] for row in elsewhere),
        max(row[-1] for row in rows if row[-1] is not None),
        batches_and_lines(rows, _FIRST_OF_BATCH),
    )


def _is_current(rows: Sequence[asyncpg.Record]) -> bool:
    return all(row[_IS_CURRENT] is not False for row in rows)


def _arguments(locks: LockSet, owners: Collection[str]) -> tuple[list[Any], ...]:
    """The arguments of the statement."""
    places = [(sku, location) for sku, location in locks.locations if sku not in locks.skus and sku not in owners]
    lines = [(*split_line_key(key), sku) for key, sku in locks.lines]
    return (
        list(locks.products.union(owners)),
        list(locks.batch_refs),
        [order_id for order_id, _, _ in lines],
        [sku for _, _, sku in lines],
        [sku for sku, _ in places],
        [location for _, location in places],
        [line for _, line, _ in lines],
    )
