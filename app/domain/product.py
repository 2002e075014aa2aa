"""The product and its rules of allocation.

`Product` is the aggregate root: each change of a batch or of a line of one SKU goes through it, and its lock serialises
these changes. A product in memory is not the complete history of its SKU. It contains the batches with stock left, the
batches and lines that the commands name, and what a handler has fetched since. The cost of a command therefore does not
depend on how much was sold before.

The sequence of the product's events is its clock: "first" and "last" (recorded, requested, allocated) mean the smallest
and the largest sequence of the event.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal

from app.domain import errors, events
from app.domain.batches import Batches
from app.domain.events import Event, ReleaseReason, StockReason
from app.domain.relocation import Relocation, last_allocated
from app.domain.stock import Allocation, Batch, OrderLine, StockLevel


@dataclass(slots=True, eq=False)
class Product:
    """The aggregate root: one SKU, its batches, and the lines allocated to them or waiting for stock.

    Raises LowStock when availability falls below `reorder_point`, where there is one.
    """

    sku: str
    sequence: int = 0
    backordered_qty: int = 0
    reorder_point: int | None = None
    batches: Batches = field(default_factory=Batches)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    _events: list[Event] = field(default_factory=list)
    # The stock level when events were taken last. `attach_batch` adds the batches that are read.
    _level_before: StockLevel = field(init=False)

    def __post_init__(self) -> None:
        self._level_before = StockLevel(self.reorder_point)

    # --- memory ----------------------------------------------------------------------------------------------------

    def attach_batch(self, batch: Batch) -> Batch:
        """Add a batch that was recorded earlier. One that is in memory already is kept, for it may have changed."""
        if batch.ref not in self.batches:
            self._level_before.add(batch)
            self.batches.add(batch)
        return self.batches[batch.ref]

    def attach_allocation(self, allocation: Allocation) -> Allocation:
        """Add a line that was accepted earlier. One that is in memory already is kept, for it may have changed."""
        return self.allocations.setdefault(allocation.line.order_id, allocation)

    def forget_lines(self, order_ids: Iterable[str]) -> None:
        """Remove lines from memory. The caller has stored them, and no command of the group names them."""
        for order_id in order_ids:
            self.allocations.pop(order_id, None)

    def take_events(self) -> list[Event]:
        """The events raised since the last call, oldest first; those of the stock level come last."""
        self._raise_stock_level_events()
        return self.drain_events()

    def drain_events(self) -> list[Event]:
        """The events raised since the last call by a command that is still running, oldest first.

        The stock level counts only at the end of a command, so its events are not raised here.
        """
        drained, self._events = self._events, []
        return drained

    # --- commands --------------------------------------------------------------------------------------------------

    def create_batch(self, ref: str, qty: int, eta: date | None) -> tuple[Batch, bool]:
        """Record a batch; the flag is True where it is new. Raises BatchConflictError."""
        known = self.batches.get(ref)
        if known is not None:
            if (known.first_qty, known.first_eta) != (qty, eta):
                raise errors.BatchConflictError(ref)
            return known, False
        number = self._raise(events.BatchCreated, ref=ref, qty=qty, eta=eta)
        return self.batches.add(Batch(number, ref, qty, eta, first_qty=qty, first_eta=eta)), True

    def allocate(self, line: OrderLine, if_unavailable: Literal["backorder", "reject"]) -> tuple[Allocation, bool]:
        """Accept a line once; the flag is True where it is new.

        Raises AllocationConflictError where the order has the SKU with another quantity, and OutOfStockError where no
        batch can hold the line and `if_unavailable` is "reject". Both refusals also raise events.
        """
        known = self.allocations.get(line.order_id)
        if known is not None:
            if known.line.qty != line.qty:
                self._raise(events.AllocationFailed, order_id=line.order_id, qty=line.qty, reason="conflict")
                raise errors.AllocationConflictError(line.order_id, self.sku, known.line.qty)
            return known, False
        batch = self.reserve(line)
        if batch is None and if_unavailable == "reject":
            self.refuse(line)
            raise errors.OutOfStockError(self.sku)
        allocation = Allocation(line, requested_sequence=self.sequence + 1)
        self.allocations[line.order_id] = allocation
        self.place(allocation, batch)
        return allocation, True

    def refuse(self, line: OrderLine) -> None:
        """Raise the events of a line that is refused because no batch can hold it."""
        self._raise(events.OutOfStock, order_id=line.order_id, qty=line.qty)
        self._raise(events.AllocationFailed, order_id=line.order_id, qty=line.qty, reason="out_of_stock")

    def cancel(self, order_id: str) -> None:
        """Remove a line. Raises AllocationNotFoundError, AlreadyShippedError."""
        allocation = self._unshipped(order_id)
        del self.allocations[order_id]
        self._release(allocation)
        self.leave(allocation, "cancelled")

    def change_line_quantity(self, order_id: str, qty: int) -> Allocation:
        """Set the quantity of an accepted line; the pieces that the line holds are available to it.

        The line stays on its batch where the batch can hold it; otherwise it goes to the batch that a new line would
        go to. A waiting line keeps its place in the queue. Raises AllocationNotFoundError, AlreadyShippedError, and
        OutOfStockError where no batch can hold the larger line: the line then stays as it was.
        """
        allocation = self._accepted(order_id)
        before, own = allocation.line, allocation.batch
        if qty == before.qty:
            return allocation
        self._unshipped(order_id)
        line = replace(before, qty=qty)
        stays = own is not None and own.available_qty + before.qty >= qty
        target = own if stays else self.batches.best(qty)
        if own is not None and target is None:
            self.refuse(line)
            raise errors.OutOfStockError(self.sku)
        self._release(allocation)
        self.leave(allocation, "cancelled", new_qty=qty)
        allocation.line, allocated_sequence = line, allocation.allocated_sequence
        if target is not None:
            target.hold(line)
        self.place(allocation, target)
        if stays:
            # The line has not moved, so its age among the lines of the batch does not change.
            allocation.allocated_sequence = allocated_sequence
        return allocation

    def ship(self, order_id: str) -> Allocation:
        """Mark an allocated line as shipped. Repeating this is harmless.

        Raises AllocationNotFoundError, NotAllocatedError.
        """
        allocation = self._accepted(order_id)
        if allocation.batch is None:
            raise errors.NotAllocatedError(order_id, self.sku)
        if allocation.shipped_sequence is None:
            allocation.batch.ship(allocation.line)
            allocation.shipped_sequence = self._raise(
                events.LineShipped, order_id=order_id, qty=allocation.line.qty, batch_ref=allocation.batch.ref
            )
        return allocation

    def change_eta(self, ref: str, eta: date | None, order_ids: Sequence[str] = ()) -> bool:
        """Set when a batch arrives. Returns whether the batch is late: less preferred than before.

        `order_ids` are some orders that have a line on the batch; the event names them. Raises BatchNotFoundError.
        """
        batch = self.batches.find(ref)
        before = batch.preference
        if batch.eta == eta:
            return False
        batch.eta = eta
        self.batches.reorder()
        lines = {"order_ids": tuple(order_ids), "order_count": batch.allocated_lines}
        self._raise(events.BatchEtaChanged, ref=ref, qty=batch.qty, eta=eta, **lines)
        return batch.preference > before

    def set_reorder_point(self, qty: int) -> None:
        """Raise LowStock when fewer than `qty` pieces are available, now or later; 0: never.

        The event is raised here, not in `take_events`, so that the ETag of the response includes its sequence.
        """
        self.reorder_point = qty or None
        self._raise_stock_level_events()

    def check_quantity(self, ref: str, qty: int, expected_qty: int | None = None) -> None:
        """Check that `change_quantity` is possible. A batch that has this quantity already passes.

        Raises BatchNotFoundError, QuantityChangedError where the quantity is not the expected one, BelowShippedError.
        """
        batch = self.batches.find(ref)
        if expected_qty is not None and batch.qty not in {expected_qty, qty}:
            raise errors.QuantityChangedError(ref, expected_qty, batch.qty)
        if qty < batch.shipped_qty:
            raise errors.BelowShippedError(ref, batch.shipped_qty)

    def change_quantity(self, ref: str, qty: int, reason: StockReason | None, reference: str | None) -> Relocation:
        """Set the quantity of a batch and release the lines that no longer fit, those allocated last first.

        The lines of the batch that were allocated last must be in memory, as many as the cut needs. The relocation
        that is returned places the released lines again, oldest request first; the caller must run it to its end.
        Raises what `check_quantity` raises.
        """
        self.check_quantity(ref, qty)
        batch = self.batches.find(ref)
        if batch.qty == qty:
            return Relocation()
        overrun = batch.allocated_qty + batch.shipped_qty - qty
        released = list(last_allocated(self.allocations.values(), batch, overrun))
        batch.qty = qty
        self._raise(events.BatchQuantityChanged, ref=ref, qty=qty, eta=batch.eta, reason=reason, reference=reference)
        for allocation in released:
            batch.release(allocation.line)
        return Relocation.of_released(self, released, "batch_quantity_changed")

    def serve_backorders(self, order_ids: Iterable[str]) -> None:
        """Allocate each queued line of these orders that fits, in the given order."""
        for order_id in order_ids:
            allocation = self.allocations[order_id]
            batch = self.reserve(allocation.line)
            if batch is not None:
                self.backordered_qty -= allocation.line.qty
                self.place(allocation, batch)

    # --- rules -----------------------------------------------------------------------------------------------------

    def reserve(self, line: OrderLine) -> Batch | None:
        """Take the stock for a whole line from the preferred batch that can hold it."""
        batch = self.batches.best(line.qty)
        if batch is not None:
            batch.hold(line)
        return batch

    def place(self, allocation: Allocation, batch: Batch | None) -> None:
        """Put a line on the batch that reserved the stock for it; None: into the queue."""
        line = allocation.line
        allocation.batch = batch
        if batch is None:
            allocation.allocated_sequence = None
            self.backordered_qty += line.qty
            self._raise(events.OutOfStock, order_id=line.order_id, qty=line.qty)
            self._raise(events.LineBackordered, order_id=line.order_id, qty=line.qty)
        else:
            allocation.allocated_sequence = self._raise(
                events.LineAllocated, order_id=line.order_id, qty=line.qty, batch_ref=batch.ref
            )

    def leave(self, allocation: Allocation, reason: ReleaseReason, *, new_qty: int | None = None) -> None:
        """Raise the event of a line that leaves its batch, or the queue."""
        line, batch = allocation.line, allocation.batch
        facts = {"order_id": line.order_id, "qty": line.qty, "batch_ref": batch.ref if batch else None}
        self._raise(events.LineDeallocated, **facts, reason=reason, new_qty=new_qty)

    def _accepted(self, order_id: str) -> Allocation:
        try:
            return self.allocations[order_id]
        except KeyError:
            raise errors.AllocationNotFoundError(order_id, self.sku) from None

    def _unshipped(self, order_id: str) -> Allocation:
        allocation = self._accepted(order_id)
        if allocation.shipped_sequence is not None:
            raise errors.AlreadyShippedError(order_id, self.sku)
        return allocation

    def _release(self, allocation: Allocation) -> None:
        """Release the pieces that the batch holds for the line, or that the queue counts for it."""
        if allocation.batch is None:
            self.backordered_qty -= allocation.line.qty
        else:
            allocation.batch.release(allocation.line)

    def _raise(self, event: Callable[..., Event], **facts: object) -> int:
        """Raise an event with the next sequence; returns the sequence."""
        self.sequence += 1
        self._events.append(event(sku=self.sku, sequence=self.sequence, **facts))
        return self.sequence

    def _raise_stock_level_events(self) -> None:
        """Raise LowStock or BackInStock where the stock level has crossed the limit since the last call.

        This runs after each command. Nothing is summed up for a product with stock and without a reorder point.
        """
        before = self._level_before
        is_watched = self.reorder_point is not None or before.reorder_point is not None
        if not is_watched and before.available_qty and any(batch.available_qty for batch in self.batches.values()):
            return
        now = self._level_before = self.batches.level(self.reorder_point)
        # A product of which no event has been taken yet is new, so nothing of it is back.
        if now.available_qty and not before.available_qty and self.sequence > len(self._events):
            self._raise(events.BackInStock, available_qty=now.available_qty)
        if now.is_low and not before.is_low:
            self._raise(
                events.LowStock,
                available_qty=now.available_qty,
                reorder_point=now.reorder_point,
                backordered_qty=self.backordered_qty,
                incoming_qty=now.incoming_qty,
            )
