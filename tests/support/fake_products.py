"""The stand-in for the repository of products."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from app.domain.choice import NEVER, queue_rank
from app.domain.events import Event
from app.domain.product import Product
from app.domain.stock import Allocation, Batch, OrderLine, split_line_key
from app.service_layer.lock_sets import LockSet
from app.service_layer.product_ports import OverdueHolds
from tests.support.fake_tables import BatchRow, LineRow, ProductRow, Tables


class FakeProductRepository:
    """Implements `ProductRepository` over the tables."""

    def __init__(self, tables: Tables, now: datetime) -> None:
        self._tables = tables
        self._now = now
        self._products: dict[str, Product] = {}
        self._owners: dict[str, str] = {}
        self._batches_to_create: set[tuple[str, str]] = set()
        self._seen: set[tuple[str, str]] = set()
        self._touched: dict[str, Product] = {}
        self._raising: dict[str, Product] = {}
        self._named: set[tuple[str, str]] = set()

    async def load(self, locks: LockSet, *, shared: bool = False) -> None:
        self._named = locks.lines
        batches = self._tables.batches
        self._owners = {ref: batches[ref].sku for ref in locks.batch_refs if ref in batches}
        self._batches_to_create = {(ref, sku) for ref, sku in locks.batches_to_create if ref not in batches}
        for _, sku in self._batches_to_create:
            self._products[sku] = Product(sku)
        for sku in locks.skus_to_create:
            self._products[sku] = Product(sku)
        for sku in locks.products | set(self._owners.values()):
            if sku in self._tables.products:
                row = self._tables.products[sku]
                self._products[sku] = Product(sku, **vars(row))
        for ref, batch in batches.items():
            if batch.sku in self._products and (
                ref in locks.batch_refs or _may_serve(batch, self._products[batch.sku])
            ):
                self._attach_batch(ref)
        for key, sku in locks.lines:
            if (key, sku) in self._tables.lines and sku in self._products:
                self._attach_line(key, sku)
        for product in self._products.values():
            product.set_time(self._now, self._now.date())

    async def fetch_overdue_holds(self, *, limit: int) -> Sequence[OverdueHolds]:
        found = []
        for product in self._products.values():
            if not product.has_overdue_holds:
                continue
            held = sorted(
                ((row.held_until, row.allocated or 0), key, row)
                for (key, sku), row in self._tables.lines.items()
                if sku == product.sku and row.held_until is not None
            )
            overdue = [(key, row) for (end, _), key, row in held if end <= product.now]
            keys = [key for key, _ in overdue[:limit]]
            limit -= len(keys)
            for key in keys:
                self._attach_line(key, product.sku)
            if len(keys) < len(overdue):
                for _, row in overdue:
                    self._attach_batch(row.batch_ref or "").overdue_qty += row.qty
            left = [end for (end, _), _, _ in held[len(keys) :]]
            found.append(OverdueHolds(self.get_or_create(product.sku), keys, min(left, default=None)))
        return found

    def get(self, sku: str) -> Product | None:
        product = self._products.get(sku)
        return self.get_or_create(sku) if product and product.sequence else None

    def get_or_create(self, sku: str) -> Product:
        self._touched[sku] = self._raising[sku] = self._products[sku]
        return self._products[sku]

    def sku_of_batch(self, ref: str) -> str | None:
        named = [sku for to_create, sku in self._batches_to_create if to_create == ref]
        recorded = (sku for sku in named if sku in self._products and ref in self._products[sku].batches)
        return self._owners.get(ref) or next(recorded, None)

    @property
    def locked_elsewhere(self) -> frozenset[str]:
        return frozenset()  # Units of work run one at a time.

    async def fetch_on_hand(self, product: Product) -> None:
        here = {ref: row for ref, row in self._tables.batches.items() if row.sku == product.sku and row.eta is None}
        last = max((row.number for row in here.values()), default=0)
        for ref, row in here.items():
            if row.shipped_qty < row.qty or row.number == last:
                self._attach_batch(ref)

    async def fetch_last_in(self, product: Product, location: str) -> None:
        self.flush()
        in_warehouse = ((ref, row) for ref, row in self._tables.batches.items() if row.eta is None)
        here = {row.number: ref for ref, row in in_warehouse if (row.sku, row.location) == (product.sku, location)}
        if here:
            self._attach_batch(here[max(here)])

    async def fetch_unfit(self, product: Product, *, limit: int) -> None:
        for ref, row in list(self._tables.batches.items()):
            if row.sku == product.sku:
                self._attach_batch(ref)

    def take_expired(self) -> Sequence[Product]:
        return [self.get_or_create(product.sku) for product in self._products.values() if product.has_expired]

    async def fetch_last_allocated(self, product: Product, batch: Batch, qty: int) -> None:
        held = [
            (row.held_until is not None, row.allocated or 0, key, row.qty) for key, row in self._held(product, batch)
        ]
        for _, _, key, line_qty in sorted(held, reverse=True):
            if qty <= 0:
                break
            self._attach_line(key, product.sku)
            qty -= line_qty

    async def fetch_allocated(
        self, product: Product, batch: Batch, *, max_qty: int, after: int, limit: int
    ) -> Sequence[str]:
        held = [(row.requested, key) for key, row in self._held(product, batch) if row.qty <= max_qty]
        keys = [key for requested, key in sorted(held) if requested > after][:limit]
        for key in keys:
            self._attach_line(key, product.sku)
        return keys

    async def first_orders(self, product: Product, batch: Batch, *, limit: int) -> Sequence[str]:
        firm = [(key, row) for key, row in self._held(product, batch) if row.held_until is None]
        held = sorted((row.allocated or 0, key) for key, row in firm)
        return list(dict.fromkeys(split_line_key(key)[0] for _, key in held[:limit]))

    def _held(self, product: Product, batch: Batch) -> list[tuple[str, LineRow]]:
        self.flush()
        return [
            (key, row)
            for (key, sku), row in self._tables.lines.items()
            if sku == product.sku and row.batch_ref == batch.ref and row.shipped is None
        ]

    async def fetch_backorders(
        self, product: Product, *, max_qty: int, after: tuple[int, int], limit: int
    ) -> Sequence[str]:
        self.flush()
        waiting = [
            ((queue_rank(row.requirements.priority), row.requested), key)
            for (key, sku), row in self._tables.lines.items()
            if sku == product.sku and row.batch_ref is None and row.qty <= max_qty
        ]
        keys = [key for place, key in sorted(waiting) if place > after][:limit]
        for key in keys:
            self._attach_line(key, product.sku)
        return keys

    async def fetch_for_redistribution(self, product: Product, *, below: int, limit: int) -> None:
        self.flush()
        for (key, sku), row in list(self._tables.lines.items()):
            if sku == product.sku and row.shipped is None:
                self._attach_line(key, sku)

    def start_command(self) -> None:
        pass

    def take_events(self) -> list[Event]:
        raising, self._raising = self._raising, {}
        return [event for product in raising.values() for event in product.take_events()]

    def flush(self) -> None:
        """Write what the products hold into the tables."""
        for sku, product in self._touched.items():
            self._tables.products[sku] = ProductRow(
                product.sequence,
                product.backordered_qty,
                product.reorder_point,
                product.held_qty,
                product.earliest_hold_end,
                product.hold_clock,
                product.next_expiry,
            )
            for batch in product.batches.values():
                self._tables.batches[batch.ref] = BatchRow(
                    sku,
                    batch.number,
                    batch.qty,
                    batch.eta,
                    batch.first_qty,
                    batch.first_eta,
                    batch.allocated_qty,
                    batch.allocated_lines,
                    batch.shipped_qty,
                    batch.held_qty,
                    batch.location,
                    batch.best_before,
                    batch.is_blocked,
                    batch.first_terms,
                )
            for key, held in product.allocations.items():
                ref = held.batch.ref if held.batch else None
                sequences = (held.requested_sequence, ref, held.allocated_sequence, held.shipped_sequence)
                self._tables.lines[key, sku] = LineRow(
                    held.line.qty, *sequences, held.held_until, held.line.requirements
                )
                self._seen.add((key, sku))
        for key, sku in [each for each in self._seen if each[0] not in self._products[each[1]].allocations]:
            self._tables.lines.pop((key, sku), None)

    def forget(self, product: Product, keys: Iterable[str]) -> None:
        unnamed = [key for key in keys if (key, product.sku) not in self._named]
        product.forget_lines(unnamed)
        self._seen -= {(key, product.sku) for key in unnamed}

    def discard_unused(self) -> None:
        for sku in [sku for sku, row in self._tables.products.items() if not row.sequence]:
            del self._tables.products[sku]

    def _attach_batch(self, ref: str) -> Batch:
        row = self._tables.batches[ref]
        sums = (row.allocated_qty, row.allocated_lines, row.shipped_qty, row.held_qty)
        terms = (row.location, row.best_before, row.is_blocked, row.first_terms)
        batch = Batch(row.number, ref, row.qty, row.eta, row.first_qty, row.first_eta, *sums, *terms)
        return self._products[row.sku].attach_batch(batch)

    def _attach_line(self, key: str, sku: str) -> None:
        row = self._tables.lines[key, sku]
        batch = self._attach_batch(row.batch_ref) if row.batch_ref else None
        order_id, name = split_line_key(key)
        line = OrderLine(order_id, sku, row.qty, row.requirements, name)
        sequences = (row.requested, batch, row.allocated, row.shipped)
        self._products[sku].attach_allocation(Allocation(line, *sequences, row.held_until))
        self._seen.add((key, sku))


def _may_serve(batch: BatchRow, product: Product) -> bool:
    """Whether the batch had free pieces when its product was stored last, and was neither blocked nor expired then."""
    expires, is_free = batch.best_before or NEVER, batch.allocated_qty + batch.shipped_qty < batch.qty
    return is_free and not batch.is_blocked and expires >= (product.next_expiry or NEVER)
