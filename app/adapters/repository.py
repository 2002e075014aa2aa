"""The repository of products over PostgreSQL.

A group of commands costs a fixed number of statements: its products are locked in the order of their SKUs, then the
open batches and the named lines are read; what differs afterwards is written in bulk. The lock comes first and in a
statement of its own, because a statement that had to wait for a lock would read the other tables as they were before.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import CursorResult, Row, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from app.adapters import statements
from app.domain.commands import Names
from app.domain.events import Event
from app.domain.model import Allocation, Batch, OrderLine, Product

_Row = tuple[Any, ...]


class SqlProductRepository:
    """Implements `ProductRepository` in the transaction of the connection.

    It remembers what it has read, and `flush` writes what has changed since. Statements that depend on earlier changes
    of the same group flush first.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._products: dict[str, Product] = {}
        self._owners: dict[str, str] = {}
        self._touched: dict[str, Product] = {}
        self._raising: dict[str, Product] = {}
        self._stored_products: dict[str, _Row] = {}
        self._stored_batches: dict[tuple[str, int], _Row] = {}
        self._stored_lines: dict[tuple[str, str], _Row] = {}

    # --- the port --------------------------------------------------------------------------------------------------

    async def load(self, names: Names) -> None:
        """Lock and fetch what is named."""
        if names.batch_refs:
            owners = await self._execute(statements.OWNERS, refs=list(names.batch_refs))
            self._owners = {row.ref: row.sku for row in owners}
        created = {sku for ref, sku in names.new_skus.items() if ref not in self._owners}
        if created:
            await self._execute(statements.CREATE_PRODUCTS, skus=sorted(created))
            self._owners |= {ref: sku for ref, sku in names.new_skus.items() if ref not in self._owners}
        skus = names.skus | set(self._owners.values())
        if not skus:
            return
        for row in await self._execute(statements.LOCK_PRODUCTS, skus=list(skus)):
            self._products[row.sku] = Product(row.sku, row.sequence, row.backordered_qty)
            self._stored_products[row.sku] = (row.sequence, row.backordered_qty)
        if not self._products:
            return
        known = list(self._products)
        for row in await self._execute(statements.BATCHES, skus=known, refs=list(names.batch_refs)):
            self._attach_batch(self._products[row.sku], row)
        lines = [line for line in names.lines if line[1] in self._products]
        if lines:
            order_ids, line_skus = zip(*lines, strict=True)
            for row in await self._execute(statements.NAMED_LINES, order_ids=order_ids, skus=line_skus):
                product = self._products[row.sku]
                batch = self._attach_batch(product, row) if row.batch_number is not None else None
                self._attach_line(product, row.order_id, row.line_qty, row.requested, batch, row.allocated)

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
        """The SKU that the batch ref belongs to, or will belong to where this group records it."""
        return self._owners.get(ref)

    async def fetch_last_allocated(self, product: Product, batch: Batch, qty: int) -> None:
        """Put the lines that came to the batch last into the product."""
        await self.flush()
        rows = await self._execute(statements.LAST_ALLOCATED, sku=product.sku, number=batch.number, qty=qty)
        for row in rows:
            self._attach_line(product, row.order_id, row.qty, row.requested, batch, row.allocated)

    async def fetch_backorders(self, product: Product, *, max_qty: int, after: int, limit: int) -> Sequence[str]:
        """Put the next queued lines that are small enough into the product; returns their orders."""
        await self.flush()
        rows = await self._execute(statements.BACKORDERS, sku=product.sku, max_qty=max_qty, after=after, limit=limit)
        return [
            self._attach_line(product, row.order_id, row.qty, row.requested, None, None).line.order_id for row in rows
        ]

    # --- for the unit of work --------------------------------------------------------------------------------------

    def take_events(self) -> list[Event]:
        """The events of the products that were handed out since the last call."""
        events: list[Event] = []
        while self._raising:
            _, product = self._raising.popitem()
            events += product.take_events()
        return events

    async def flush(self) -> None:
        """Write what has changed since it was read or written last. The keys that others refer to come first."""
        products = self._touched.values()
        await self._flush_products(products)
        await self._flush_batches(products)
        await self._flush_lines(products)

    async def discard_unused(self) -> None:
        """Remove the products that were made for a first batch which was then refused."""
        unused = [sku for sku, product in self._products.items() if not product.sequence]
        if unused:
            await self._execute(statements.DELETE_PRODUCTS, skus=unused)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _touch(self, product: Product) -> Product:
        self._touched[product.sku] = self._raising[product.sku] = product
        return product

    async def _execute(self, statement: TextClause, **parameters: Any) -> CursorResult[Any]:
        return await self._connection.execute(statement, parameters)

    async def _write(self, statement: TextClause, columns: Sequence[str], rows: Sequence[_Row]) -> None:
        if rows:
            await self._connection.execute(statement, dict(zip(columns, zip(*rows, strict=True), strict=True)))

    def _attach_batch(self, product: Product, row: Row[Any]) -> Batch:
        batch = product.batches.get(row.ref)
        if batch is None:
            batch = product.attach_batch(
                Batch(row.number, row.ref, row.qty, row.eta, row.first_qty, row.first_eta, row.allocated_qty),
            )
            self._stored_batches[product.sku, batch.number] = _batch_values(batch)
        return batch

    def _attach_line(
        self, product: Product, order_id: str, qty: int, requested: int, batch: Batch | None, allocated: int | None
    ) -> Allocation:
        known = product.allocations.get(order_id)
        if known is not None:
            return known
        line = OrderLine(order_id, product.sku, qty)
        allocation = product.attach_allocation(Allocation(line, requested, batch, allocated))
        self._stored_lines[order_id, product.sku] = _line_values(allocation)
        return allocation

    async def _flush_products(self, products: Iterable[Product]) -> None:
        changed = []
        for product in products:
            values = (product.sequence, product.backordered_qty)
            if self._stored_products[product.sku] != values:
                self._stored_products[product.sku] = values
                changed.append((product.sku, *values))
        await self._write(statements.UPDATE_PRODUCTS, ("sku", "sequence", "backordered_qty"), changed)

    async def _flush_batches(self, products: Iterable[Product]) -> None:
        new: list[_Row] = []
        changed: list[_Row] = []
        for product in products:
            for batch in product.batches.values():
                key, values = (product.sku, batch.number), _batch_values(batch)
                stored = self._stored_batches.get(key)
                if stored == values:
                    continue
                if stored is None:
                    new.append((*key, batch.ref, *values, batch.first_qty, batch.first_eta))
                else:
                    changed.append((*key, *values))
                self._stored_batches[key] = values
        columns = ("sku", "number", "qty", "eta", "allocated_qty")
        await self._write(
            statements.INSERT_BATCHES, ("sku", "number", "ref", *columns[2:], "first_qty", "first_eta"), new
        )
        await self._write(statements.UPDATE_BATCHES, columns, changed)

    async def _flush_lines(self, products: Iterable[Product]) -> None:
        new: list[_Row] = []
        changed: list[_Row] = []
        gone = {key for key in self._stored_lines if key[0] not in self._products[key[1]].allocations}
        for product in products:
            for allocation in product.allocations.values():
                key, values = (allocation.line.order_id, product.sku), _line_values(allocation)
                stored = self._stored_lines.get(key)
                if stored == values:
                    continue
                (new if stored is None else changed).append((*key, *values))
                self._stored_lines[key] = values
        for key in gone:
            del self._stored_lines[key]
        columns = ("order_id", "sku", "qty", "requested", "batch_number", "allocated")
        await self._write(statements.DELETE_LINES, columns[:2], sorted(gone))
        await self._write(statements.UPDATE_LINES, columns, changed)
        await self._write(statements.INSERT_LINES, columns, new)


def _batch_values(batch: Batch) -> _Row:
    """What can change about a batch."""
    return (batch.qty, batch.eta, batch.allocated_qty)


def _line_values(allocation: Allocation) -> _Row:
    """What can change about a line: all of it, for a cancelled one may be placed anew."""
    batch = allocation.batch
    return (allocation.line.qty, allocation.requested, batch.number if batch else None, allocation.allocated)
