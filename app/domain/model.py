"""The product and its rules of allocation.

`Product` is the aggregate root: every change of a batch or of a line goes through it, and everything that happens to
one SKU is serialised by its lock. A product in memory is not the whole history of its SKU. It holds the batches with
stock left, the batches and lines that the commands name, and what a handler has fetched since; so a product that has
been sold a million times costs what a new one costs.

Order is told by the product's own clock, the sequence of its events: the batch recorded first, the line requested first
and the line allocated last are those with the smallest and the largest sequence of the event that made them so.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from operator import attrgetter
from typing import Literal

from app.domain.errors import (
    AllocationConflictError,
    AllocationNotFoundError,
    BatchConflictError,
    BatchNotFoundError,
    OutOfStockError,
)
from app.domain.events import (
    AllocationFailed,
    BatchCreated,
    BatchEtaChanged,
    BatchQuantityChanged,
    Event,
    LineAllocated,
    LineBackordered,
    LineDeallocated,
    OutOfStock,
)


@dataclass(frozen=True, slots=True)
class OrderLine:
    """So many pieces of one SKU for one order. Its identity is (`order_id`, `sku`)."""

    order_id: str
    sku: str
    qty: int


@dataclass(slots=True, eq=False)
class Batch:
    """Stock that was bought together.

    `number` is the sequence of the event that recorded it and identifies it within its product. `first_qty` and
    `first_eta` are what it was recorded with, whatever changed since.
    """

    number: int
    ref: str
    qty: int
    eta: date | None
    first_qty: int
    first_eta: date | None
    allocated_qty: int = 0

    @property
    def available_qty(self) -> int:
        """Pieces that no line holds. Never below 0."""
        return self.qty - self.allocated_qty

    @property
    def preference(self) -> tuple[bool, date, int]:
        """Sorts batches: the warehouse first, then the earliest ETA, then the batch recorded first."""
        return (self.eta is not None, self.eta or date.min, self.number)


@dataclass(slots=True, eq=False)
class Allocation:
    """An order line that was accepted: held by `batch`, or waiting in the queue where that is None.

    `requested` is its place in the queue, `allocated` tells how late it came to its batch; both are sequences.
    """

    line: OrderLine
    requested: int
    batch: Batch | None = None
    allocated: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A line that had to leave a batch, and where it went: to another one, or to the queue where that is None."""

    line: OrderLine
    from_batch: Batch
    to_batch: Batch | None


@dataclass(slots=True, eq=False)
class Product:
    """The aggregate root: one SKU, its batches, and the lines allocated to them or waiting for stock."""

    sku: str
    sequence: int = 0
    backordered_qty: int = 0
    batches: dict[str, Batch] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    _events: list[Event] = field(default_factory=list)
    _preferred: list[Batch] | None = None

    # --- asking ----------------------------------------------------------------------------------------------------

    def batch(self, ref: str) -> Batch:
        """The batch of that ref. Raises BatchNotFoundError."""
        try:
            return self.batches[ref]
        except KeyError:
            raise BatchNotFoundError(ref) from None

    def batches_by_preference(self) -> list[Batch]:
        """The batches in memory, the one to allocate from first at the front."""
        if self._preferred is None:
            self._preferred = sorted(self.batches.values(), key=attrgetter("preference"))
        return self._preferred

    @property
    def largest_available_qty(self) -> int:
        """The largest line that could be allocated now."""
        return max((batch.available_qty for batch in self.batches.values()), default=0)

    def take_events(self) -> list[Event]:
        """The events raised since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    # --- loading ---------------------------------------------------------------------------------------------------

    def attach_batch(self, batch: Batch) -> Batch:
        """Hold a batch that was recorded earlier. The one in memory wins, for it may have changed since."""
        self._preferred = None
        return self.batches.setdefault(batch.ref, batch)

    def attach_allocation(self, allocation: Allocation) -> Allocation:
        """Hold a line that was accepted earlier. The one in memory wins, for it may have changed since."""
        return self.allocations.setdefault(allocation.line.order_id, allocation)

    # --- changing --------------------------------------------------------------------------------------------------

    def create_batch(self, ref: str, qty: int, eta: date | None) -> tuple[Batch, bool]:
        """Record a batch; the flag says whether it is new. Raises BatchConflictError."""
        known = self.batches.get(ref)
        if known is not None:
            if (known.first_qty, known.first_eta) != (qty, eta):
                raise BatchConflictError(ref)
            return known, False
        number = self._tick()
        batch = Batch(number=number, ref=ref, qty=qty, eta=eta, first_qty=qty, first_eta=eta)
        self.attach_batch(batch)
        self._events.append(BatchCreated(sku=self.sku, sequence=number, ref=ref, qty=qty, eta=eta))
        return batch, True

    def allocate(self, line: OrderLine, if_unavailable: Literal["backorder", "reject"]) -> tuple[Allocation, bool]:
        """Accept a line, at most once; the flag says whether it is new.

        Raises AllocationConflictError where the order has another quantity of the SKU, and OutOfStockError where no
        batch can hold the line and `if_unavailable` is "reject"; both are also told as events.
        """
        known = self.allocations.get(line.order_id)
        if known is not None:
            if known.line.qty != line.qty:
                self._fail(line, "conflict")
                raise AllocationConflictError(line.order_id, self.sku, known.line.qty)
            return known, False
        batch = self._reserve(line)
        if batch is None and if_unavailable == "reject":
            self._out_of_stock(line)
            self._fail(line, "out_of_stock")
            raise OutOfStockError(self.sku)
        allocation = Allocation(line, requested=self.sequence + 1)
        self.allocations[line.order_id] = allocation
        self._place(allocation, batch)
        return allocation, True

    def cancel(self, order_id: str) -> None:
        """Forget a line. Raises AllocationNotFoundError."""
        allocation = self.allocations.pop(order_id, None)
        if allocation is None:
            raise AllocationNotFoundError(order_id, self.sku)
        if allocation.batch is None:
            self.backordered_qty -= allocation.line.qty
        else:
            allocation.batch.allocated_qty -= allocation.line.qty
        self._deallocated(allocation.line, allocation.batch, "cancelled")

    def change_batch(self, ref: str, qty: int, eta: date | None) -> list[Move]:
        """Set what a batch holds and when it arrives; a line that no longer fits moves, the one allocated last first.

        The lines of the batch that were allocated last have to be in memory, as many as the cut needs. Returns what
        moved, the oldest request first; a line that finds its way back to its own batch has not moved. Raises
        BatchNotFoundError.
        """
        batch = self.batch(ref)
        released = list(self._to_release(batch, batch.allocated_qty - qty))
        self._amend(batch, qty, eta)

        for allocation in released:
            batch.allocated_qty -= allocation.line.qty
        by_request = sorted(released, key=attrgetter("requested"))
        targets = {allocation: self._reserve(allocation.line) for allocation in by_request}
        moved = {allocation: target for allocation, target in targets.items() if target is not batch}

        for allocation in released:
            if allocation in moved:
                self._deallocated(allocation.line, batch, "batch_quantity_changed")
        for allocation, target in moved.items():
            self._place(allocation, target)
        return [Move(allocation.line, batch, target) for allocation, target in moved.items()]

    def serve_backorders(self, waiting: Iterable[str]) -> None:
        """Allocate each of the queued lines of these orders that fits, in the order given."""
        for order_id in waiting:
            allocation = self.allocations[order_id]
            batch = self._reserve(allocation.line)
            if batch is not None:
                self.backordered_qty -= allocation.line.qty
                self._place(allocation, batch)

    # --- the rules -------------------------------------------------------------------------------------------------

    def _tick(self) -> int:
        self.sequence += 1
        return self.sequence

    def _reserve(self, line: OrderLine) -> Batch | None:
        """Take the stock for a whole line from the first batch in the order of preference that has it."""
        for batch in self.batches_by_preference():
            if batch.available_qty >= line.qty:
                batch.allocated_qty += line.qty
                return batch
        return None

    def _place(self, allocation: Allocation, batch: Batch | None) -> None:
        """Give the line to the batch that has reserved the stock for it, or else to the queue."""
        line = allocation.line
        allocation.batch = batch
        if batch is None:
            allocation.allocated = None
            self.backordered_qty += line.qty
            self._out_of_stock(line)
            self._events.append(
                LineBackordered(sku=self.sku, sequence=self._tick(), order_id=line.order_id, qty=line.qty),
            )
        else:
            allocation.allocated = self._tick()
            self._events.append(
                LineAllocated(
                    sku=self.sku,
                    sequence=allocation.allocated,
                    order_id=line.order_id,
                    qty=line.qty,
                    batch_ref=batch.ref,
                ),
            )

    def _out_of_stock(self, line: OrderLine) -> None:
        self._events.append(OutOfStock(sku=self.sku, sequence=self._tick(), order_id=line.order_id, qty=line.qty))

    def _fail(self, line: OrderLine, reason: Literal["out_of_stock", "conflict"]) -> None:
        self._events.append(
            AllocationFailed(sku=self.sku, sequence=self._tick(), order_id=line.order_id, qty=line.qty, reason=reason),
        )

    def _deallocated(
        self, line: OrderLine, batch: Batch | None, reason: Literal["cancelled", "batch_quantity_changed"]
    ) -> None:
        self._events.append(
            LineDeallocated(
                sku=self.sku,
                sequence=self._tick(),
                order_id=line.order_id,
                qty=line.qty,
                batch_ref=batch.ref if batch else None,
                reason=reason,
            ),
        )

    def _amend(self, batch: Batch, qty: int, eta: date | None) -> None:
        eta_changed, qty_changed = batch.eta != eta, batch.qty != qty
        batch.eta, batch.qty = eta, qty
        self._preferred = None
        if eta_changed:
            self._events.append(
                BatchEtaChanged(sku=self.sku, sequence=self._tick(), ref=batch.ref, qty=qty, eta=eta),
            )
        if qty_changed:
            self._events.append(
                BatchQuantityChanged(sku=self.sku, sequence=self._tick(), ref=batch.ref, qty=qty, eta=eta),
            )

    def _to_release(self, batch: Batch, overrun: int) -> Iterator[Allocation]:
        """The lines that have to leave the batch, the one allocated last first, until `overrun` pieces are free."""
        if overrun <= 0:
            return
        held = [allocation for allocation in self.allocations.values() if allocation.batch is batch]
        for allocation in sorted(held, key=attrgetter("allocated"), reverse=True):
            yield allocation
            overrun -= allocation.line.qty
            if overrun <= 0:
                return
        message = f"{overrun} allocated pieces of batch {batch.ref} are not in memory; fetch its lines first"
        raise LookupError(message)
