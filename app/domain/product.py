"""The product and its rules of allocation.

`Product` is the aggregate root: each change of a batch or of a line of one SKU goes through it, and its lock serialises
these changes. `ProductMemory` describes what it contains.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Literal

from app.domain import errors, events
from app.domain.events import RefusalReason, StockReason
from app.domain.placement import Placement
from app.domain.relocation import Relocation, last_allocated
from app.domain.stock import Allocation, Batch, OrderLine


@dataclass(slots=True, eq=False)
class Product(Placement):
    """The aggregate root: one SKU, its batches, and the lines allocated to them or waiting for stock.

    Raises LowStock when availability falls below `reorder_point`, where there is one.
    """

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

    def allocate(
        self, line: OrderLine, if_unavailable: Literal["backorder", "reject"], held_until: datetime | None = None
    ) -> tuple[Allocation, bool]:
        """Accept a line once, or confirm it where it is held; the flag is True where the line is new or firm now.

        With `held_until` a new line is a hold, which never waits in the queue; a line that was accepted before does not
        change. Raises AllocationConflictError where the order has the SKU with another quantity, and OutOfStockError
        where no batch can hold the line and it may not wait. Both refusals also raise events.
        """
        is_held = held_until is not None
        known = self.allocations.get(line.order_id)
        if known is not None:
            if known.line.qty != line.qty:
                self.refuse(line, "conflict")
                raise errors.AllocationConflictError(line.order_id, self.sku, known.line.qty)
            is_confirmed = known.is_held and not is_held
            if is_confirmed:
                self._confirm(known)
            return known, is_confirmed
        batch = self.reserve(line, is_held=is_held)
        if batch is None and (is_held or if_unavailable == "reject"):
            self.refuse(line, "out_of_stock", is_held=is_held)
            raise errors.OutOfStockError(self.sku)
        allocation = Allocation(line, requested_sequence=self.sequence + 1, held_until=held_until)
        self.allocations[line.order_id] = allocation
        if held_until is not None:
            self.held_qty += line.qty
            self._count_hold(held_until)
        self.place(allocation, batch)
        return allocation, True

    def refuse(self, line: OrderLine, reason: RefusalReason, *, is_held: bool = False) -> None:
        """Raise the events of a line that is refused. A refused hold raises no OutOfStock: it is not an order."""
        if reason == "out_of_stock" and not is_held:
            self._raise(events.OutOfStock, order_id=line.order_id, qty=line.qty)
        self._raise(events.AllocationFailed, order_id=line.order_id, qty=line.qty, reason=reason)

    def cancel(self, order_id: str) -> None:
        """Remove a line. Raises AllocationNotFoundError, AlreadyShippedError."""
        allocation = self._unshipped(order_id)
        self._release(allocation)
        if allocation.is_held:
            self._end_hold(allocation, "cancelled")
        else:
            del self.allocations[order_id]
            self.leave(allocation, "cancelled")

    def change_line_quantity(self, order_id: str, qty: int, held_until: datetime | None = None) -> Allocation:
        """Set the quantity of an accepted line; the pieces that the line holds are available to it.

        The line stays on its batch where the batch can hold it; otherwise it goes to the batch that a new line would
        go to. A waiting line keeps its place in the queue, and a hold its end, unless it is given another one. Raises
        AllocationNotFoundError, AlreadyShippedError, and OutOfStockError where no batch can hold the larger line: the
        line then stays as it was.
        """
        allocation = self._accepted(order_id)
        before, own, is_held = allocation.line, allocation.batch, allocation.is_held
        if qty == before.qty:
            return allocation
        self._unshipped(order_id)
        line = replace(before, qty=qty)
        stays = own is not None and own.available_qty + before.qty >= qty
        target = own if stays else self.batches.best(qty)
        if own is not None and target is None:
            self.refuse(line, "out_of_stock", is_held=is_held)
            raise errors.OutOfStockError(self.sku)
        self._release(allocation)
        if is_held:
            self._raise_hold_released(allocation, "replaced")
            self.held_qty += qty - before.qty
            allocation.held_until = held_until or allocation.held_until
        else:
            self.leave(allocation, "cancelled", new_qty=qty)
        allocation.line, allocated_sequence = line, allocation.allocated_sequence
        if target is not None:
            target.take(line, is_held=is_held)
        self.place(allocation, target)
        if stays:
            # The line has not moved, so its age among the lines of the batch does not change.
            allocation.allocated_sequence = allocated_sequence
        return allocation

    def ship(self, order_id: str) -> Allocation:
        """Mark an allocated line as shipped. Repeating this is harmless.

        Raises AllocationNotFoundError, NotAllocatedError, NotConfirmedError.
        """
        allocation = self._accepted(order_id)
        if allocation.batch is None:
            raise errors.NotAllocatedError(order_id, self.sku)
        if allocation.is_held:
            raise errors.NotConfirmedError(order_id, self.sku)
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
        """Set the quantity of a batch. The relocation moves the lines that no longer fit, oldest request first.

        The caller must run the relocation to its end. Raises what `check_quantity` raises.
        """
        released = self.resize_batch(ref, qty, reason, reference)
        return Relocation.of_released(self, released, "batch_quantity_changed")

    def resize_batch(
        self, ref: str, qty: int, reason: StockReason | None, reference: str | None
    ) -> Sequence[Allocation]:
        """Set the quantity of a batch. Returns the lines that no longer fit: holds first, and the last one first.

        The caller must relocate them. The lines of the batch that were allocated last must be in memory, as many as the
        cut needs. Raises what `check_quantity` raises.
        """
        self.check_quantity(ref, qty)
        batch = self.batches.find(ref)
        if batch.qty == qty:
            return ()
        overrun = batch.allocated_qty + batch.shipped_qty - qty
        released = list(last_allocated(self.allocations.values(), batch, overrun))
        batch.qty = qty
        self._raise(events.BatchQuantityChanged, ref=ref, qty=qty, eta=batch.eta, reason=reason, reference=reference)
        return released

    def serve_backorders(self, order_ids: Iterable[str]) -> None:
        """Allocate each queued line of these orders that fits, in the given order."""
        for order_id in order_ids:
            allocation = self.allocations[order_id]
            batch = self.reserve(allocation.line)
            if batch is not None:
                self.backordered_qty -= allocation.line.qty
                self.place(allocation, batch)

    # --- holds ------------------------------------------------------------------------------------------------------

    def end_of_hold(self, seconds: int) -> datetime:
        """The end of a hold of that many seconds that begins now."""
        return self.now + timedelta(seconds=seconds)

    def can_hold(self, line: OrderLine) -> bool:
        """Whether a batch has the line or can hold it; the pieces that the order has are available to it."""
        own = self.allocations.get(line.order_id)
        if own is None or own.batch is None:
            return self.batches.best(line.qty) is not None
        stays = own.line.qty == line.qty or own.batch.available_qty + own.line.qty >= line.qty
        return stays or self.batches.best(line.qty) is not None

    def hold(self, line: OrderLine, held_until: datetime) -> Allocation:
        """Hold the line until `held_until`, with this quantity, whether it is new or held already.

        Raises NotHeldError where it is firm, and OutOfStockError where no batch can hold it: it then stays as it was.
        """
        known = self.allocations.get(line.order_id)
        if known is None:
            return self.allocate(line, "reject", held_until)[0]
        if not known.is_held:
            raise errors.NotHeldError(line.order_id, self.sku)
        self._count_hold(held_until)
        if known.line.qty != line.qty:
            return self.change_line_quantity(line.order_id, line.qty, held_until)
        if known.held_until != held_until and known.batch is not None:
            known.held_until = held_until
            self._raise_held(known, known.batch)
        return known

    def replace_hold(self, order_id: str) -> None:
        """End a hold because the order is held without this line now. Raises NotHeldError where the line is firm."""
        allocation = self._accepted(order_id)
        if not allocation.is_held:
            raise errors.NotHeldError(order_id, self.sku)
        self._release(allocation)
        self._end_hold(allocation, "replaced")

    def expire_holds(self, order_ids: Iterable[str], earliest_end: datetime | None) -> None:
        """End the holds of these orders, which have ended, and those of lines in memory that have ended too.

        No other hold ends before `earliest_end`; None: there is no other one.
        """
        named = (
            each for each in self.allocations.values() if each.held_until is not None and each.held_until <= self.now
        )
        over = list(dict.fromkeys([*order_ids, *(each.line.order_id for each in named)]))
        self.earliest_hold_end = earliest_end
        if over:
            self.hold_clock = self.now
        for order_id in over:
            allocation = self.allocations[order_id]
            if allocation.batch is not None and allocation.batch.overdue_qty:
                allocation.batch.overdue_qty -= allocation.line.qty
            self._release(allocation)
            self._end_hold(allocation, "expired")

    # --- lookups ---------------------------------------------------------------------------------------------------

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
