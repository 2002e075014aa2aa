"""The repository of products over PostgreSQL.

A group of commands costs a fixed number of statements: its products are locked in the order of their SKUs, then the
usable batches and the named lines are read; what differs afterwards is written in bulk. The lock comes first and in a
statement of its own, because a statement that had to wait for a lock would read the other tables as they were before.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime

import asyncpg

from app.adapters.postgresql import statements
from app.adapters.postgresql.calendar import Calendar
from app.adapters.postgresql.command_size import CommandSize
from app.adapters.postgresql.event_ids import EventIds
from app.adapters.postgresql.hold_rows import find_overdue
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.product_changes import ProductChanges
from app.adapters.postgresql.product_locks import fetch_rows, lock_products, rows_to_read
from app.adapters.postgresql.rows import BATCH_WIDTH, BatchRow, LineRow, ProductRow, first_pieces
from app.adapters.postgresql.writes import Writes
from app.domain.choice import queue_rank
from app.domain.events import Event
from app.domain.product import Product
from app.domain.stock import Batch
from app.service_layer.lock_sets import LockSet
from app.service_layer.product_ports import OverdueHolds

Start = Callable[[Writes], Awaitable[None]]

FIRST_LINES = 100
LINES_AT_A_TIME = 500
"""Lines that a statement fetches of those that a batch received last: at first, and at most."""


class SqlProductRepository:
    """Implements `ProductRepository` in the transaction of the connection.

    `changes` returns what differs from the rows that were read. Statements that depend on earlier changes of the same
    group write these first.
    """

    def __init__(self, connection: PipelinedConnection, calendar: Calendar, ids: EventIds | None, write: Start) -> None:
        """`ids` gets ids for events; without it nothing is locked, and no event can be written.

        `write` starts a write.
        """
        self._connection = connection
        self._write = write
        self._calendar = calendar
        self._ids = ids
        self._products: dict[str, Product] = {}
        self._owners: dict[str, str] = {}
        self._batches_to_create: defaultdict[str, set[str]] = defaultdict(set)
        self._touched: dict[str, Product] = {}
        self._raising: dict[str, Product] = {}
        self._changes = ProductChanges()
        self._written_up_to: defaultdict[str, int] = defaultdict(int)
        self._named_lines: set[tuple[str, str]] = set()
        self._locked_elsewhere: frozenset[str] = frozenset()
        self._size = CommandSize(connection)

    # --- the port --------------------------------------------------------------------------------------------------

    async def load(self, locks: LockSet, *, shared: bool = False) -> None:
        """Lock and fetch what is named."""
        self._size.is_shared = shared
        self._named_lines = locks.lines
        if locks.batch_refs or locks.skus_to_create:
            await self._resolve(locks)
        skus = locks.products.union(self._owners.values())
        if not skus:
            return
        is_locking = self._ids is not None
        found = await lock_products(self._connection, list(skus), shared=shared, is_locking=is_locking)
        products, self._locked_elsewhere = found
        self._attach_products(products)
        named = rows_to_read(self._products, locks, self._owners.values())
        read_at = self._attach(await fetch_rows(self._connection, named, self._ids))
        if read_at is not None:
            now, today = self._calendar.at(read_at)
            for product in self._products.values():
                product.set_time(now, today)

    def get(self, sku: str) -> Product | None:
        """The product, unless no batch of it was ever recorded."""
        product = self._products.get(sku)
        if product is None or not product.sequence:
            return None
        return self._touch(product)

    def get_or_create(self, sku: str) -> Product:
        """The product that `load` has read or inserted."""
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

    async def fetch_on_hand(self, product: Product) -> None:
        """Put the batches that have pieces on hand into the product. Nothing has to be written first."""
        # A batch that has changed is in memory already.
        rows = await self._connection.fetch(statements.ON_HAND, product.sku, product.today)
        await self._size.count(product.sku, len(rows))
        for row in rows:
            self._attach_batch(product, BatchRow._make(row))

    async def fetch_last_in(self, product: Product, location: str) -> None:
        """See `ProductRepository.fetch_last_in`."""
        await self._write_changes(product)
        for row in await self._connection.fetch(statements.LAST_IN, product.sku, location):
            self._attach_batch(product, BatchRow._make(row))

    async def fetch_overdue_holds(self, *, limit: int) -> Sequence[OverdueHolds]:
        """Put holds that have ended into the products, with their batches."""
        products = [product for product in self._products.values() if product.has_overdue_holds]
        if not products:
            return ()
        found = await find_overdue(self._connection, products, limit)
        self._attach(found.rows)
        for row, qty in found.batches:
            product = self._products[row.sku]
            self._attach_batch(product, row)
            product.batches[row.ref].overdue_qty = qty
        return [OverdueHolds(self._touch(each), found.keys[each.sku], found.ends[each.sku]) for each in products]

    async def fetch_unfit(self, product: Product, *, limit: int) -> None:
        """Put batches with free pieces into the product that are blocked or have expired."""
        for row in await self._connection.fetch(statements.UNFIT, product.sku, product.today, limit):
            self._attach_batch(product, BatchRow._make(row))

    def take_expired(self) -> Sequence[Product]:
        """The products of which batches have expired since they were stored last."""
        return [self._touch(product) for product in self._products.values() if product.has_expired]

    async def fetch_last_allocated(self, product: Product, batch: Batch, qty: int) -> None:
        """Put the lines that a cut of the batch releases into the product, in pages."""
        await self._write_changes(product)
        if batch.held_qty:
            qty = await self._fetch_last(statements.LAST_HELD, product, batch, qty)
        await self._fetch_last(statements.LAST_ALLOCATED, product, batch, qty)

    async def _fetch_last(self, statement: str, product: Product, batch: Batch, qty: int) -> int:
        """Fetch lines of at least `qty` pieces. Returns how many pieces are missing."""
        before, limit = product.sequence + 1, FIRST_LINES
        while qty > 0:
            rows = await self._connection.fetch(statement, product.sku, batch.number, before, min(qty, limit))
            if not rows:
                break
            needed = list(first_pieces(rows, qty))
            await self._size.count(product.sku, len(needed))
            self._attach_held(product, batch, needed)
            qty -= sum(row["qty"] for row in needed)
            before, limit = needed[-1]["allocated"], min(4 * limit, LINES_AT_A_TIME)
        return qty

    async def fetch_allocated(
        self, product: Product, batch: Batch, *, max_qty: int, after: int, limit: int
    ) -> Sequence[str]:
        """Put the next lines of the batch that are small enough into the product; returns their keys."""
        await self._write_changes(product)
        rows = await self._connection.fetch(statements.ALLOCATED, product.sku, batch.number, after, max_qty, limit)
        await self._size.count(product.sku, len(rows))
        return self._attach_held(product, batch, rows)

    async def first_orders(self, product: Product, batch: Batch, *, limit: int) -> Sequence[str]:
        """The orders of the lines that were allocated to the batch first."""
        await self._write_changes(product)
        rows = await self._connection.fetch(statements.FIRST_ORDERS, product.sku, batch.number, limit)
        # An order may have several lines of the SKU.
        return list(dict.fromkeys(row["order_id"] for row in rows))

    async def fetch_backorders(
        self, product: Product, *, max_qty: int, after: tuple[int, int], limit: int
    ) -> Sequence[str]:
        """Put the next queued lines that are small enough into the product; returns their keys."""
        await self._write_changes(product)
        where = (product.sku, *after, max_qty, limit, *product.batches.offer())
        rows = await self._connection.fetch(statements.BACKORDERS, *where)
        await self._size.count(product.sku, len(rows))
        return self._attach_held(product, None, rows)

    async def fetch_for_redistribution(self, product: Product, *, below: int, limit: int) -> None:
        """Put lines of a high priority that wait, and lines of a lower one on batches, into the product."""
        await self._write_changes(product)
        where = (product.sku, queue_rank(below), limit)
        for row in await self._connection.fetch(statements.URGENT_BACKORDERS, *where):
            self._attach_line(product, LineRow._make(row), None)
        self._attach(await self._connection.fetch(statements.LESS_URGENT_LINES, *where))

    # --- for the unit of work --------------------------------------------------------------------------------------

    def take_events(self) -> list[Event]:
        """The events of the products that were handed out since the last call."""
        events: list[Event] = []
        while self._raising:
            _, product = self._raising.popitem()
            events += product.take_events()
        return events

    def start_command(self) -> None:
        """See `CommandSize.reset`."""
        self._size.reset()

    def changes(self) -> Writes:
        """The writes of everything that has changed since it was read or written last."""
        return {**self._changes.of(self._touched.values()), **ProductChanges.of_unused(self._products.values())}

    def changes_of(self, product: Product, keys: Iterable[str]) -> Writes:
        """See `ProductChanges.of_some_lines`."""
        return self._changes.of_some_lines(product, keys)

    async def give_way(self) -> None:
        """Pause if the command is large, after a part of its work."""
        await self._size.give_way()

    def forget(self, product: Product, keys: Iterable[str]) -> None:
        """Remove lines from memory that are written and that no command of the group names."""
        unnamed = [key for key in keys if (key, product.sku) not in self._named_lines]
        product.forget_lines(unnamed)
        self._changes.forget_lines(product.sku, unnamed)

    # --- inside ----------------------------------------------------------------------------------------------------

    async def _resolve(self, locks: LockSet) -> None:
        """Find the products of the batches that are named, and make those that a first batch may need."""
        if locks.batch_refs:
            self._owners = dict(await self._connection.fetch(statements.OWNERS, list(locks.batch_refs)))
        for ref, sku in locks.batches_to_create:
            if ref not in self._owners:
                self._batches_to_create[ref].add(sku)
        skus = locks.skus_to_create.union(*self._batches_to_create.values())
        if skus:
            # Sorted, as the locks are, so that two groups do not wait for each other in a circle.
            await self._connection.execute(statements.CREATE_PRODUCTS, sorted(skus))

    def _attach_products(self, rows: Iterable[asyncpg.Record]) -> None:
        for row in map(ProductRow._make, rows):
            self._products[row.sku] = Product(*row)
            self._changes.add_product(row)

    async def _write_changes(self, product: Product) -> None:
        """Write what has changed of the product: what is fetched next depends on nothing else."""
        if self._written_up_to[product.sku] == product.sequence:
            return  # Without an event no line has changed.
        self._written_up_to[product.sku] = product.sequence
        await self._write(self._changes.of([product]))

    def _attach(self, rows: Iterable[asyncpg.Record]) -> datetime | None:
        """Put batches and lines into their products. Returns the time where one of the rows has it."""
        now: datetime | None = None
        for row in rows:
            batch = BatchRow._make(row[:BATCH_WIDTH]) if row[0] is not None else None
            line = LineRow._make(row[BATCH_WIDTH:]) if row[BATCH_WIDTH] is not None else None
            named = batch or line
            if named is None:
                now = LineRow._make(row[BATCH_WIDTH:]).held_until
                continue
            product = self._products.get(named.sku)
            if product is None:
                # Another transaction has just given a named ref to another SKU. If this one records it too, it violates
                # the unique constraint and runs again.
                continue
            if batch is not None:
                self._attach_batch(product, batch)
            if line is not None:
                self._attach_line(product, line, product.batches[batch.ref] if batch is not None else None)
        return now

    def _touch(self, product: Product) -> Product:
        self._touched[product.sku] = self._raising[product.sku] = product
        return product

    def _attach_batch(self, product: Product, row: BatchRow) -> None:
        if row.ref not in product.batches:
            product.attach_batch(row.to_batch())
            self._changes.add_batch(row)

    def _attach_held(self, product: Product, batch: Batch | None, rows: Iterable[asyncpg.Record]) -> list[str]:
        """Attach the lines of a batch or, without one, of the queue. Returns their keys."""
        return [self._attach_line(product, LineRow._make(row), batch) for row in rows]

    def _attach_line(self, product: Product, row: LineRow, batch: Batch | None) -> str:
        key = row.key
        if key not in product.allocations:
            product.attach_allocation(row.to_allocation(batch))
            self._changes.add_line(row)
        return key
