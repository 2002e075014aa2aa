"""The steps that commands have in common: lines get stock, go to a batch or into the queue, and leave."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from app.domain import events
from app.domain.events import Event, HoldReleaseReason, ReleaseReason
from app.domain.product_memory import ProductMemory
from app.domain.stock import Allocation, Batch, OrderLine


@dataclass(slots=True, eq=False)
class Placement(ProductMemory):
    """Moves the lines of a product."""

    def reserve(self, line: OrderLine, *, is_held: bool = False, along: Batch | None = None) -> Batch | None:
        """Take the stock for a whole line from the preferred batch that can hold it.

        That is the batch `along` if it can hold the line and no other batch can serve it earlier.
        """
        batch = self.batches.best(line.qty, line.requirements)
        if along is not None and along.can_hold(line) and (batch is None or along.arrival <= batch.arrival):
            batch = along
        if batch is not None:
            batch.take(line, is_held=is_held)
        return batch

    def place(
        self, allocation: Allocation, batch: Batch | None, reason: ReleaseReason = "batch_quantity_changed"
    ) -> None:
        """Put a line on the batch that reserved the stock for it; None: into the queue.

        A held line that goes into the queue loses its hold, for the reason that is given.
        """
        line = allocation.line
        if batch is None:
            if allocation.is_held:
                self._end_hold(allocation, "batch_quantity_changed" if reason == "batch_eta_changed" else reason)
                return
            allocation.batch = allocation.allocated_sequence = None
            self.backordered_qty += line.qty
            self._raise_of(line, events.OutOfStock)
            self._raise_of(line, events.LineBackordered)
            return
        allocation.batch = batch
        if allocation.is_held:
            allocation.allocated_sequence = self._raise_held(allocation, batch)
        else:
            allocation.allocated_sequence = self._raise_allocated(line, batch)

    def leave(self, allocation: Allocation, reason: ReleaseReason, *, new_qty: int | None = None) -> None:
        """Raise the event of a firm line that leaves its batch or the queue.

        A held line raises nothing here: `place` raises LineHeld or HoldReleased.
        """
        if allocation.is_held:
            return
        line, batch = allocation.line, allocation.batch
        ref = batch.ref if batch else None
        self._raise_of(line, events.LineDeallocated, batch_ref=ref, reason=reason, new_qty=new_qty)

    def _release(self, allocation: Allocation) -> None:
        """Release the pieces that the batch holds for the line, or that the queue counts for it."""
        if allocation.batch is None:
            self.backordered_qty -= allocation.line.qty
        else:
            allocation.batch.release(allocation.line, is_held=allocation.is_held)

    def _confirm(self, allocation: Allocation) -> None:
        line, batch = allocation.line, allocation.batch
        if batch is None:
            raise AssertionError
        batch.confirm(line)
        self.held_qty -= line.qty
        allocation.held_until = None
        allocation.allocated_sequence = self._raise_allocated(line, batch)

    def _count_hold(self, held_until: datetime) -> None:
        """Remember the end of a hold, and the time that it was computed from."""
        self.hold_clock = self.now
        self.earliest_hold_end = min(held_until, self.earliest_hold_end or held_until)

    def _end_hold(self, allocation: Allocation, reason: HoldReleaseReason) -> None:
        """Forget a hold whose stock has been released."""
        del self.allocations[allocation.line.key]
        self.held_qty -= allocation.line.qty
        self._raise_hold_released(allocation, reason)

    def _raise_of(self, line: OrderLine, event_type: Callable[..., Event], **facts: object) -> int:
        """Raise an event of a line; returns its sequence."""
        return self._raise(event_type, order_id=line.order_id, line=line.name, qty=line.qty, **facts)

    def _raise_allocated(self, line: OrderLine, batch: Batch) -> int:
        return self._raise_of(line, events.LineAllocated, batch_ref=batch.ref)

    def _raise_held(self, allocation: Allocation, batch: Batch) -> int:
        return self._raise_of(allocation.line, events.LineHeld, batch_ref=batch.ref, held_until=allocation.held_until)

    def _raise_hold_released(self, allocation: Allocation, reason: HoldReleaseReason) -> None:
        ref = allocation.batch.ref if allocation.batch else None
        self._raise_of(allocation.line, events.HoldReleased, batch_ref=ref, reason=reason)
