"""The repository of products over PostgreSQL.

A group of commands costs a fixed number of statements: its products are locked in the order of their SKUs, then the
open batches and the named lines are read; what differs afterwards is written in bulk. The lock comes first and in a
statement of its own, because a statement that had to wait for a lock would read the other tables as they were before.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date

import asyncpg

from app.adapters.postgresql import statements
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.statements import Row
from app.domain.events import Event
from app.domain.product import Product
from app.domain.stock import Allocation, Batch, OrderLine
from app.observability import metrics
from app.service_layer.lock_sets import LockSet
from app.service_layer.ports import TooLargeToShareError

BATCH_COLUMNS = 10
"""Of a row of `BATCHES_AND_LINES`, so many are about the batch."""

LARGE = 2000
"""A command that fetches more lines than this is large. It runs apart from others and has more time."""

FIRST_LINES = 100
LINES_AT_A_TIME = 2000
"""Lines that a statement fetches of those that a batch received last: at first, and at most."""


class SqlProductRepository:
    """Implements `ProductRepository` in the transaction of the connection.

    It remembers what it has read, and `changes` tells what has become different since. Statements that depend on
    earlier changes of the same group write those first.
    """

    def __init__(self, connection: PipelinedConnection) -> None:
        self._connection = connection
        self._products: dict[str, Product] = {}
        self._owners: dict[str, str] = {}
        self._batches_to_create: defaultdict[str, set[str]] = defaultdict(set)
        self._touched: dict[str, Product] = {}
        self._raising: dict[str, Product] = {}
        self._stored_products: dict[str, Row] = {}
        self._stored_batches: dict[tuple[str, int], Row] = {}
        self._stored_lines: defaultdict[str, dict[str, Row]] = defaultdict(dict)
        self._written_up_to: defaultdict[str, int] = defaultdict(int)
        self._named_lines: set[tuple[str, str]] = set()
        self._locked_elsewhere: frozenset[str] = frozenset()
        self._is_shared = False
        self._is_extended = False
        self._fetched = 0

    # --- the port --------------------------------------------------------------------------------------------------

    async def load(self, locks: LockSet, *, shared: bool = False) -> None:
        """Lock and fetch what is named."""
        self._is_shared = shared
        self._named_lines = locks.lines
        if locks.batch_refs:
            await self._resolve(locks)
        skus = locks.skus.union(self._owners.values())
        if not skus:
            return
        await self._lock(list(skus))
        lines = [line for line in locks.lines if line[1] in self._products]
        rows = await self._connection.fetch(
            statements.BATCHES_AND_LINES,
            list(self._products),
            list(locks.batch_refs),
            [order_id for order_id, _ in lines],
            [sku for _, sku in lines],
        )
        for row in rows:
            sku, number, ref, first_qty, first_eta, *now = row[:BATCH_COLUMNS]
            order_id, line_qty, requested, *placed = row[BATCH_COLUMNS:]
            product = self._products.get(sku)
            if product is None:
                # Another transaction has just given a named ref to another SKU. Should this one record it as well, it
                # meets the unique constraint, and is run again.
                continue
            batch = None
            if number is not None:
                batch = self._attach_batch(product, number, ref, tuple(now), (first_qty, first_eta))
            if order_id is not None:
                self._attach_line(product, OrderLine(order_id, sku, line_qty), requested, batch, *placed)

    def get(self, sku: str) -> Product | None:
        """The product, unless no batch of it was ever recorded."""
        product = self._products.get(sku)
        if product is None or not product.sequence:
            return None
        return self._touch(product)

    def get_or_create(self, sku: str) -> Product:
        """The product, or a new one for its first batch."""
        return self._touch(self._products[sku])

    def sku_of_batch(self, ref: str) -> str | None:
        """The SKU of the batch of that ref, recorded earlier or by a handler of this group."""
        owner = self._owners.get(ref)
        if owner is not None:
            return owner
        named = self._batches_to_create.get(ref, ())
        held = (self._products[sku] for sku in named if sku in self._products)
        return next((product.sku for product in held if ref in product.batches), None)

    @property
    def locked_elsewhere(self) -> frozenset[str]:
        """The products that a shared unit of work left out, because another transaction holds them."""
        return self._locked_elsewhere

    async def fetch_last_allocated(self, product: Product, batch: Batch, qty: int) -> None:
        """Put the lines that the batch received last into the product, in pages."""
        await self._write_changes(product)
        before, limit = product.sequence + 1, FIRST_LINES
        while qty > 0:
            where = (product.sku, batch.number, before, min(qty, limit))
            rows = await self._connection.fetch(statements.LAST_ALLOCATED, *where)
            if not rows:
                return
            needed = list(_until(rows, qty))
            await self._count_fetched(product.sku, len(needed))
            self._attach_held(product, batch, needed)
            qty -= sum(row["qty"] for row in needed)
            before, limit = needed[-1]["allocated"], min(4 * limit, LINES_AT_A_TIME)

    async def fetch_allocated(
        self, product: Product, batch: Batch, *, max_qty: int, after: int, limit: int
    ) -> Sequence[str]:
        """Put the next lines of the batch that are small enough into the product; returns their orders."""
        await self._write_changes(product)
        where = (product.sku, batch.number, after, max_qty, limit)
        rows = await self._connection.fetch(statements.ALLOCATED, *where)
        await self._count_fetched(product.sku, len(rows))
        self._attach_held(product, batch, rows)
        return [row["order_id"] for row in rows]

    async def first_orders(self, product: Product, batch: Batch, *, limit: int) -> Sequence[str]:
        """The orders of the lines that were allocated to the batch first."""
        await self._write_changes(product)
        rows = await self._connection.fetch(statements.FIRST_ORDERS, product.sku, batch.number, limit)
        return [row["order_id"] for row in rows]

    async def fetch_backorders(self, product: Product, *, max_qty: int, after: int, limit: int) -> Sequence[str]:
        """Put the next queued lines that are small enough into the product; returns their orders."""
        await self._write_changes(product)
        rows = await self._connection.fetch(statements.BACKORDERS, product.sku, after, max_qty, limit)
        await self._count_fetched(product.sku, len(rows))
        for order_id, qty, requested in rows:
            self._attach_line(product, OrderLine(order_id, product.sku, qty), requested)
        return [row["order_id"] for row in rows]

    # --- for the unit of work --------------------------------------------------------------------------------------

    def take_events(self) -> list[Event]:
        """The events of the products that were handed out since the last call."""
        events: list[Event] = []
        while self._raising:
            _, product = self._raising.popitem()
            events += product.take_events()
        return events

    def start_command(self) -> None:
        """Count the lines that the next command fetches from 0."""
        self._fetched = 0

    def changes(self) -> dict[str, list[Row]]:
        """What has changed since it was read or written last, as rows by the name of their write."""
        products = self._touched.values()
        return self._changed_products(products) | self._changed_batches(products) | self._changed_lines(products)

    def changes_of(self, product: Product, order_ids: Iterable[str]) -> dict[str, list[Row]]:
        """What has changed of a product and of these lines of it. Other lines wait for the commit.

        A long command works through more lines than it may compare again and again.
        """
        known = self._stored_lines[product.sku]
        new: list[Row] = []
        changed: list[Row] = []
        for order_id in order_ids:
            stored, values = known.get(order_id), _line_values(product.allocations[order_id])
            if stored != values:
                (new if stored is None else changed).append((order_id, product.sku, *values))
                known[order_id] = values
        lines = {"update_lines": changed, "insert_lines": new}
        return self._changed_products([product]) | self._changed_batches([product]) | lines

    def forget(self, product: Product, order_ids: Iterable[str]) -> None:
        """Drop lines that are written and that no command of the group names."""
        known = self._stored_lines[product.sku]
        unnamed = [order_id for order_id in order_ids if (order_id, product.sku) not in self._named_lines]
        product.forget_lines(unnamed)
        for order_id in unnamed:
            known.pop(order_id, None)

    def unused(self) -> dict[str, list[Row]]:
        """The write that removes products which were made for a first batch that was then refused."""
        return {"delete_products": [(sku,) for sku, product in self._products.items() if not product.sequence]}

    # --- inside ----------------------------------------------------------------------------------------------------

    async def _resolve(self, locks: LockSet) -> None:
        """Find the products of the batches that are named, and make those that a first batch may need."""
        self._owners = dict(await self._connection.fetch(statements.OWNERS, list(locks.batch_refs)))
        for ref, sku in locks.batches_to_create:
            if ref not in self._owners:
                self._batches_to_create[ref].add(sku)
        if self._batches_to_create:
            # Sorted, as the locks are, so that two groups do not wait for each other in a circle.
            skus = sorted(set().union(*self._batches_to_create.values()))
            await self._connection.execute(statements.CREATE_PRODUCTS, skus)

    async def _lock(self, skus: list[str]) -> None:
        asked = time.perf_counter()
        try:
            lock = statements.LOCK_FREE_PRODUCTS if self._is_shared else statements.LOCK_PRODUCTS
            locked = await self._connection.fetch(lock, skus)
        finally:
            # A wait that fails is the longest of all.
            metrics.lock_wait_seconds.observe(time.perf_counter() - asked)
        for sku, *values in locked:
            self._products[sku] = Product(sku, *values)
            self._stored_products[sku] = tuple(values)
        if self._is_shared and len(locked) < len(skus):
            missing = [sku for sku in skus if sku not in self._products]
            rows = await self._connection.fetch(statements.EXISTING_PRODUCTS, missing)
            self._locked_elsewhere = frozenset(row["sku"] for row in rows)

    async def _count_fetched(self, sku: str, lines: int) -> None:
        """Bound what a command may do. Raises TooLargeToShareError where other commands would wait for it.

        Apart from others, a large command gets more time than `transaction_timeout` gives a small one.
        """
        self._fetched += lines
        if self._fetched <= LARGE or self._is_extended:
            return
        if self._is_shared:
            raise TooLargeToShareError(sku)
        self._is_extended = True
        await self._connection.execute(statements.EXTEND_TRANSACTION)

    async def _write_changes(self, product: Product) -> None:
        """Write what has changed of the product: what is fetched next depends on nothing else."""
        if self._written_up_to[product.sku] == product.sequence:
            return  # Without an event no line has changed.
        self._written_up_to[product.sku] = product.sequence
        changes = self._changed_products([product]) | self._changed_batches([product]) | self._changed_lines([product])
        if any(changes.values()):
            statement, arguments = statements.write(changes)
            await self._connection.start(statement, *arguments)

    def _touch(self, product: Product) -> Product:
        self._touched[product.sku] = self._raising[product.sku] = product
        return product

    def _attach_batch(
        self,
        product: Product,
        number: int,
        ref: str,
        now: Row,
        first: tuple[int, date | None],
    ) -> Batch:
        batch = product.batches.get(ref)
        if batch is None:
            qty, eta, *sums = now
            batch = product.attach_batch(Batch(number, ref, qty, eta, *first, *sums))
            self._stored_batches[product.sku, number] = now
        return batch

    def _attach_held(self, product: Product, batch: Batch, rows: Iterable[asyncpg.Record]) -> None:
        for order_id, qty, requested, allocated in rows:
            self._attach_line(product, OrderLine(order_id, product.sku, qty), requested, batch, allocated)

    def _attach_line(
        self,
        product: Product,
        line: OrderLine,
        requested: int,
        batch: Batch | None = None,
        allocated: int | None = None,
        shipped: int | None = None,
    ) -> None:
        if line.order_id not in product.allocations:
            allocation = product.attach_allocation(Allocation(line, requested, batch, allocated, shipped))
            self._stored_lines[line.sku][line.order_id] = _line_values(allocation)

    def _changed_products(self, products: Iterable[Product]) -> dict[str, list[Row]]:
        changed = []
        for product in products:
            values = (product.sequence, product.backordered_qty, product.reorder_point)
            if self._stored_products[product.sku] != values:
                self._stored_products[product.sku] = values
                changed.append((product.sku, *values))
        return {"update_products": changed}

    def _changed_batches(self, products: Iterable[Product]) -> dict[str, list[Row]]:
        new: list[Row] = []
        changed: list[Row] = []
        for product in products:
            for batch in product.batches.values():
                key, values = (product.sku, batch.number), _batch_values(batch)
                stored = self._stored_batches.get(key)
                if stored == values:
                    continue
                if stored is None:
                    new.append((*key, batch.ref, batch.first_qty, batch.first_eta, *values))
                else:
                    changed.append((*key, *values))
                self._stored_batches[key] = values
        return {"insert_batches": new, "update_batches": changed}

    def _changed_lines(self, products: Iterable[Product]) -> dict[str, list[Row]]:
        new: list[Row] = []
        changed: list[Row] = []
        gone: list[Row] = []
        for product in products:
            known = self._stored_lines[product.sku]
            cancelled = [order_id for order_id in known if order_id not in product.allocations]
            for order_id in cancelled:
                del known[order_id]
                gone.append((order_id, product.sku))
            for order_id, allocation in product.allocations.items():
                stored, values = known.get(order_id), _line_values(allocation)
                if stored != values:
                    (new if stored is None else changed).append((order_id, product.sku, *values))
                    known[order_id] = values
        return {"delete_lines": gone, "update_lines": changed, "insert_lines": new}


def _until(rows: Iterable[asyncpg.Record], qty: int) -> Iterator[asyncpg.Record]:
    """The first rows that make up `qty` pieces."""
    for row in rows:
        if qty <= 0:
            return
        yield row
        qty -= row["qty"]


def _batch_values(batch: Batch) -> Row:
    """What can change about a batch."""
    return (batch.qty, batch.eta, batch.allocated_qty, batch.allocated_lines, batch.shipped_qty)


def _line_values(allocation: Allocation) -> Row:
    """What can change about a line: all of it, for a cancelled one may be placed anew."""
    line, batch = allocation.line, allocation.batch
    sequences = (allocation.allocated_sequence, allocation.shipped_sequence)
    return (line.qty, allocation.requested_sequence, batch.number if batch else None, *sequences)
