"""The product and its rules of allocation.

`Product` is the aggregate root: each change of a batch or of a line of one SKU goes through it, and its lock serialises
these changes. `ProductMemory` describes what it contains.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from app.domain import errors, events
from app.domain.choice import ANY_BATCH, Requirements
from app.domain.events import RefusalReason
from app.domain.stock import Allocation, Batch, OrderLine
from app.domain.stock_keeping import StockKeeping


@dataclass(slots=True, eq=False)
class Product(StockKeeping):
    """The aggregate root: one SKU, its batches, and the lines allocated to them or waiting for stock.

    Raises LowStock when availability falls below `reorder_point`, where there is one.
    """

    # --- commands --------------------------------------------------------------------------------------------------

    def allocate(
        self, line: OrderLine, if_unavailable: Literal["backorder", "reject"], held_until: datetime | None = None
    ) -> tuple[Allocation, bool]:
        """Accept a line once, or confirm it if it is held. Returns True if this call placed or confirmed the line.

        With `held_until` a new line is a hold; a line that was accepted before does not change. A repetition may leave
        its requirements out. Raises AllocationConflictError if the order has the line with another quantity or other
        requirements, and OutOfStockError if no batch can hold the line and it may not wait. Both refusals also raise
        events.
        """
        is_held = held_until is not None
        known = self.allocations.get(line.key)
        if known is not None:
            if known.line.qty != line.qty or line.requirements not in {ANY_BATCH, known.line.requirements}:
                self.refuse(line, "conflict")
                raise errors.AllocationConflictError(line.key, self.sku, known.line.qty)
            is_confirmed = known.is_held and not is_held
            if is_confirmed:
                self._confirm(known)
            return known, is_confirmed
        batch = self.reserve(line, is_held=is_held)
        if batch is None and (is_held or if_unavailable == "reject"):
            self.refuse(line, "out_of_stock", is_held=is_held)
            raise errors.OutOfStockError(self.sku)
        allocation = Allocation(line, requested_sequence=self.sequence + 1, held_until=held_until)
        self.allocations[line.key] = allocation
        if held_until is not None:
            self.held_qty += line.qty
            self._count_hold(held_until)
        self.place(allocation, batch)
        return allocation, True

    def refuse(self, line: OrderLine, reason: RefusalReason, *, is_held: bool = False) -> None:
        """Raise the events of a line that is refused. A refused hold raises no OutOfStock: it is not an order."""
        if reason == "out_of_stock" and not is_held:
            self._raise_of(line, events.OutOfStock)
        self._raise_of(line, events.AllocationFailed, reason=reason)

    def cancel(self, key: str) -> None:
        """Remove a line. Raises AllocationNotFoundError, AlreadyShippedError."""
        allocation = self._unshipped(key)
        self._release(allocation)
        if allocation.is_held:
            self._end_hold(allocation, "cancelled")
        else:
            del self.allocations[key]
            self.leave(allocation, "cancelled")

    def change_line_quantity(
        self,
        key: str,
        qty: int,
        held_until: datetime | None = None,
        requirements: Requirements | None = None,
    ) -> Allocation:
        """Set the quantity of an accepted line, and of a hold its end and its requirements; None leaves them.

        Raises AllocationNotFoundError, AlreadyShippedError, and OutOfStockError where no batch can hold the line in its
        new form: it then stays as it was.
        """
        allocation = self._accepted(key)
        before, own, is_held = allocation.line, allocation.batch, allocation.is_held
        line = replace(before, qty=qty, requirements=requirements or before.requirements)
        if line == before:
            return allocation
        self._unshipped(key)
        stays = self._stays(allocation, line)
        target = own if stays else self.batches.best(qty, line.requirements)
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

    def ship(self, key: str) -> Allocation:
        """Mark an allocated line as shipped. Repeating this is harmless.

        Raises AllocationNotFoundError, NotAllocatedError, NotConfirmedError.
        """
        allocation = self._accepted(key)
        if allocation.batch is None:
            raise errors.NotAllocatedError(key, self.sku)
        if allocation.is_held:
            raise errors.NotConfirmedError(key, self.sku)
        if allocation.shipped_sequence is None:
            allocation.batch.ship(allocation.line)
            allocation.shipped_sequence = self._raise_of(
                allocation.line, events.LineShipped, batch_ref=allocation.batch.ref
            )
        return allocation

    def set_reorder_point(self, qty: int) -> None:
        """Raise LowStock when fewer than `qty` pieces are available, now or later; 0: never.

        The event is raised here, not in `take_events`, so that the ETag of the response includes its sequence.
        """
        self.reorder_point = qty or None
        self._raise_stock_level_events()

    def serve_backorders(self, keys: Iterable[str]) -> None:
        """Allocate each of these queued lines that fits, in the given order."""
        for key in keys:
            allocation = self.allocations[key]
            batch = self.reserve(allocation.line)
            if batch is not None:
                self.backordered_qty -= allocation.line.qty
                self.place(allocation, batch)

    # --- holds ------------------------------------------------------------------------------------------------------

    def end_of_hold(self, seconds: int) -> datetime:
        """The end of a hold of that many seconds that begins now."""
        return self.now + timedelta(seconds=seconds)

    def without_stock(self, lines: Iterable[OrderLine], leaving: Iterable[Allocation] = ()) -> list[OrderLine]:
        """Those of the lines that no batch can hold if they are held or placed in this order.

        The pieces that an accepted line has are available to it, and those of the lines that are `leaving` to all.
        """
        before: dict[Batch, int] = {}
        try:
            for allocation in leaving:
                _count(allocation.batch, -allocation.line.qty, before)
            return [line for line in lines if not self._try(line, before)]
        finally:
            for batch, qty in before.items():
                batch.allocated_qty = qty

    def _try(self, line: OrderLine, before: dict[Batch, int]) -> bool:
        """Count the pieces of the line on the batch that `hold` or `allocate` would choose, if there is one."""
        own = self.allocations.get(line.key)
        if own is not None and line.requirements == ANY_BATCH:
            line = replace(line, requirements=own.line.requirements)
        target = own.batch if own is not None and self._stays(own, line) else None
        target = target or self.batches.best(line.qty, line.requirements)
        if target is None:
            return False
        if own is not None:
            _count(own.batch, -own.line.qty, before)
        _count(target, line.qty, before)
        return True

    def hold(self, line: OrderLine, held_until: datetime) -> Allocation:
        """Hold the line until `held_until`, with this quantity, whether it is new or held already.

        Raises NotHeldError where it is firm, and OutOfStockError where no batch can hold it: it then stays as it was.
        """
        known = self.allocations.get(line.key)
        if known is None:
            return self.allocate(line, "reject", held_until)[0]
        if not known.is_held:
            raise errors.NotHeldError(line.order_id, self.sku)
        self._count_hold(held_until)
        has_other_requirements = line.requirements not in {ANY_BATCH, known.line.requirements}
        if known.line.qty != line.qty or has_other_requirements:
            requirements = line.requirements if has_other_requirements else None
            return self.change_line_quantity(line.key, line.qty, held_until, requirements)
        if known.held_until != held_until and known.batch is not None:
            known.held_until = held_until
            self._raise_held(known, known.batch)
        return known

    def replace_hold(self, key: str) -> None:
        """End a hold because the order is held without this line now. Raises NotHeldError where the line is firm."""
        allocation = self._accepted(key)
        if not allocation.is_held:
            raise errors.NotHeldError(allocation.line.order_id, self.sku)
        self._release(allocation)
        self._end_hold(allocation, "replaced")

    def expire_holds(self, keys: Iterable[str], earliest_end: datetime | None) -> None:
        """End the holds of these lines, which have ended, and those of lines in memory that have ended too.

        No other hold ends before `earliest_end`, which is None if there is no other one.
        """
        named = (
            each for each in self.allocations.values() if each.held_until is not None and each.held_until <= self.now
        )
        over = list(dict.fromkeys([*keys, *(each.line.key for each in named)]))
        self.earliest_hold_end = earliest_end
        if over:
            self.hold_clock = self.now
        for key in over:
            allocation = self.allocations[key]
            if allocation.batch is not None and allocation.batch.overdue_qty:
                allocation.batch.overdue_qty -= allocation.line.qty
            self._release(allocation)
            self._end_hold(allocation, "expired")

    # --- lookups ---------------------------------------------------------------------------------------------------

    def _accepted(self, key: str) -> Allocation:
        try:
            return self.allocations[key]
        except KeyError:
            raise errors.AllocationNotFoundError(key, self.sku) from None

    @staticmethod
    def _stays(own: Allocation, line: OrderLine) -> bool:
        """Whether the batch of an accepted line can hold it in its new form.

        A line that neither grows nor has new requirements stays, also on a batch that is blocked or has expired.
        """
        if own.batch is None:
            return False
        grows = line.qty > own.line.qty
        if (grows or line.requirements != own.line.requirements) and not own.batch.meets(line.requirements):
            return False
        return not grows or own.batch.available_qty + own.line.qty >= line.qty

    def _unshipped(self, key: str) -> Allocation:
        allocation = self._accepted(key)
        if allocation.shipped_sequence is not None:
            raise errors.AlreadyShippedError(key, self.sku)
        return allocation


def _count(batch: Batch | None, qty: int, before: dict[Batch, int]) -> None:
    """Add pieces to what is allocated of a batch, and remember what was allocated before."""
    if batch is not None:
        before.setdefault(batch, batch.allocated_qty)
        batch.allocated_qty += qty
