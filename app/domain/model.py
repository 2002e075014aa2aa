"""The product and its rules of allocation.

`Product` is the aggregate root: every change of a batch or of a line goes through it, and everything that happens to
one SKU is serialised by its lock. A product in memory is not the whole history of its SKU. It holds the batches with
stock left, the batches and lines that the commands name, and what a handler has fetched since; so a product that has
been sold a million times costs what a new one costs.

Order is told by the product's own clock, the sequence of its events: the batch recorded first, the line requested first
and the line allocated last are those with the smallest and the largest sequence of the event that made them so.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import takewhile
from operator import attrgetter
from typing import Literal

from app.domain.errors import (
    AllocationConflictError,
    AllocationNotFoundError,
    AlreadyShippedError,
    BatchConflictError,
    BatchNotFoundError,
    BelowShippedError,
    NotAllocatedError,
    OutOfStockError,
    QuantityChangedError,
)
from app.domain.events import (
    AllocationFailed,
    BackInStock,
    BatchCreated,
    BatchEtaChanged,
    BatchQuantityChanged,
    Event,
    LineAllocated,
    LineBackordered,
    LineDeallocated,
    LineShipped,
    LowStock,
    OutOfStock,
    ReleaseReason,
    StockReason,
)
from app.domain.stock import Allocation, Batch, Move, OrderLine, Relocation, StockLevel

STEP = 250
"""Lines that one step of a relocation works on. Between two steps other commands have their turn."""


@dataclass(slots=True, eq=False)
class Product:
    """The aggregate root: one SKU, its batches, and the lines allocated to them or waiting for stock.

    Where there is a `reorder_point`, it is told when less than that is available.
    """

    sku: str
    sequence: int = 0
    backordered_qty: int = 0
    reorder_point: int | None = None
    batches: dict[str, Batch] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    _events: list[Event] = field(default_factory=list)
    _preferred: list[Batch] | None = None
    # As it was when events were taken last; a product that has just been read is added up as it is read.
    _level_before: StockLevel = field(init=False)

    def __post_init__(self) -> None:
        self._level_before = StockLevel(self.reorder_point)

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

    def best_batch(self, qty: int) -> Batch | None:
        """The batch that a line of so many pieces is allocated from; None where no batch can hold it whole.

        No other batch can have it sooner, so this is also when so many can be had at the earliest.
        """
        return next((batch for batch in self.batches_by_preference() if batch.available_qty >= qty), None)

    @property
    def largest_available_qty(self) -> int:
        """The largest line that could be allocated now."""
        return max((batch.available_qty for batch in self.batches.values()), default=0)

    def stock_level(self) -> StockLevel:
        """What is available now. Batches that are not in memory have nothing available."""
        level = StockLevel(self.reorder_point)
        for batch in self.batches.values():
            level.add(batch)
        return level

    def take_events(self) -> list[Event]:
        """The events raised since the last call, oldest first; what has become of the stock as a whole comes last."""
        self._tell_crossings()
        return self.drain_events()

    def drain_events(self) -> list[Event]:
        """The events raised since the last call by a command that is still running, oldest first.

        Unlike `take_events` it does not judge the stock level, which counts only once the command has ended.
        """
        events, self._events = self._events, []
        return events

    def forget_lines(self, order_ids: Iterable[str]) -> None:
        """Drop lines from memory. The caller has stored them and no command of the group names them."""
        for order_id in order_ids:
            self.allocations.pop(order_id, None)

    # --- loading ---------------------------------------------------------------------------------------------------

    def attach_batch(self, batch: Batch) -> Batch:
        """Hold a batch that was recorded earlier. The one in memory wins, for it may have changed since."""
        if batch.ref not in self.batches:
            self._level_before.add(batch)
            self._hold(batch)
        return self.batches[batch.ref]

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
        number = self._tell(BatchCreated, ref=ref, qty=qty, eta=eta)
        batch = Batch(number=number, ref=ref, qty=qty, eta=eta, first_qty=qty, first_eta=eta)
        return self._hold(batch), True

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
            self.refuse(line)
            raise OutOfStockError(self.sku)
        allocation = Allocation(line, requested=self.sequence + 1)
        self.allocations[line.order_id] = allocation
        self._place(allocation, batch)
        return allocation, True

    def refuse(self, line: OrderLine) -> None:
        """Tell that a line is refused for want of stock."""
        self._out_of_stock(line)
        self._fail(line, "out_of_stock")

    def cancel(self, order_id: str) -> None:
        """Forget a line. Raises AllocationNotFoundError, AlreadyShippedError."""
        allocation = self._accepted(order_id)
        if allocation.shipped is not None:
            raise AlreadyShippedError(order_id, self.sku)
        del self.allocations[order_id]
        self._release(allocation)
        self._deallocated(allocation.line, allocation.batch, "cancelled")

    def change_line_quantity(self, order_id: str, qty: int) -> Allocation:
        """Set the quantity of an accepted line; the pieces that the line holds count as free for it.

        The line stays on its batch where that holds it, and else goes to the batch that a new line would go to. A
        waiting line keeps its place in the queue. Raises AllocationNotFoundError, AlreadyShippedError, and
        OutOfStockError where no batch holds the larger line: it stays as it was, and the refusal is an event.
        """
        allocation = self._accepted(order_id)
        before, own = allocation.line, allocation.batch
        if qty == before.qty:
            return allocation
        if allocation.shipped is not None:
            raise AlreadyShippedError(order_id, self.sku)
        line = OrderLine(order_id, self.sku, qty)
        stays = own is not None and own.available_qty + before.qty >= qty
        target = own if stays else self.best_batch(qty)
        if own is not None and target is None:
            self.refuse(line)
            raise OutOfStockError(self.sku)
        self._release(allocation)
        self._deallocated(before, own, "cancelled", new_qty=qty)
        allocation.line, rank = line, allocation.allocated
        if target is not None:
            target.hold(line)
        self._place(allocation, target)
        if stays:
            # It has not moved, so among the lines of its batch it is still as old as it was.
            allocation.allocated = rank
        return allocation

    def ship(self, order_id: str) -> Allocation:
        """Note that a line has left the house; twice is once. Raises AllocationNotFoundError, NotAllocatedError."""
        allocation = self._accepted(order_id)
        if allocation.batch is None:
            raise NotAllocatedError(order_id, self.sku)
        if allocation.shipped is None:
            allocation.batch.ship(allocation.line)
            allocation.shipped = self._tell(
                LineShipped, order_id=order_id, qty=allocation.line.qty, batch_ref=allocation.batch.ref
            )
        return allocation

    def change_eta(self, ref: str, eta: date | None, orders: Sequence[str] = ()) -> None:
        """Set when a batch arrives. `orders` are some that have a line on it, to be told. Raises BatchNotFoundError."""
        batch = self.batch(ref)
        if batch.eta == eta:
            return
        batch.eta = eta
        self._preferred = None
        told = {"order_ids": tuple(orders), "order_count": batch.allocated_lines}
        self._tell(BatchEtaChanged, ref=ref, qty=batch.qty, eta=eta, **told)

    def set_reorder_point(self, qty: int) -> None:
        """Raise LowStock from now on when less than `qty` pieces are available, and at once where it is so; 0: never.

        The event is raised here, not when the events are taken, so that the answer can name the sequence after it.
        """
        self.reorder_point = qty or None
        self._tell_crossings()

    def check_quantity(self, ref: str, qty: int, expected_qty: int | None = None) -> None:
        """Whether `change_quantity` may be asked for; where the batch has this quantity already it may.

        Raises BatchNotFoundError, QuantityChangedError where the batch is not as expected, and BelowShippedError.
        """
        batch = self.batch(ref)
        if expected_qty is not None and batch.qty not in {expected_qty, qty}:
            raise QuantityChangedError(ref, expected_qty, batch.qty)
        if qty < batch.shipped_qty:
            raise BelowShippedError(ref, batch.shipped_qty)

    def change_quantity(self, ref: str, qty: int, reason: StockReason | None, reference: str | None) -> Relocation:
        """Set the quantity of a batch and release the lines that no longer fit, the one allocated last first.

        The lines of the batch that were allocated last must be in memory, as many as the cut needs. The relocation
        that is returned places the released lines again, in the order of their requests; it must be run to its end.
        A line that returns to its own batch has not moved. Raises what `check_quantity` raises.
        """
        self.check_quantity(ref, qty)
        batch = self.batch(ref)
        if batch.qty == qty:
            return Relocation()
        released = list(self._to_release(batch, batch.allocated_qty + batch.shipped_qty - qty))
        batch.qty = qty
        self._tell(BatchQuantityChanged, ref=ref, qty=qty, eta=batch.eta, reason=reason, reference=reference)
        for allocation in released:
            batch.release(allocation.line)
        relocation = Relocation(is_long=len(released) > STEP)
        relocation.steps = self._place_again(relocation, released, "batch_quantity_changed")
        return relocation

    def room_before(self, batch: Batch) -> int:
        """The largest line that a batch could hold that is preferred to this one."""
        return max((other.available_qty for other in self._before(batch)), default=0)

    def reserve_sooner(self, batch: Batch, orders: Iterable[str]) -> dict[Allocation, Batch]:
        """Find each line of these orders a batch that is preferred to the one it is on; to be handed to `move_sooner`.

        The orders come oldest request first. Their lines have to be in memory.
        """
        targets: dict[Allocation, Batch] = {}
        for order_id in orders:
            allocation = self.allocations[order_id]
            for other in self._before(batch):
                if other.available_qty >= allocation.line.qty:
                    batch.release(allocation.line)
                    other.hold(allocation.line)
                    targets[allocation] = other
                    break
        return targets

    def move_sooner(self, targets: Mapping[Allocation, Batch]) -> Relocation:
        """Move lines to the batches that `reserve_sooner` found for them. The relocation must be run to its end."""
        relocation = Relocation(is_long=len(targets) > STEP)
        relocation.steps = self._move(relocation, list(targets), targets, "batch_eta_changed")
        return relocation

    def serve_backorders(self, waiting: Iterable[str]) -> None:
        """Allocate each of the queued lines of these orders that fits, in the order given."""
        for order_id in waiting:
            allocation = self.allocations[order_id]
            batch = self._reserve(allocation.line)
            if batch is not None:
                self.backordered_qty -= allocation.line.qty
                self._place(allocation, batch)

    # --- the rules -------------------------------------------------------------------------------------------------

    def _hold(self, batch: Batch) -> Batch:
        self._preferred = None
        self.batches[batch.ref] = batch
        return batch

    def _accepted(self, order_id: str) -> Allocation:
        try:
            return self.allocations[order_id]
        except KeyError:
            raise AllocationNotFoundError(order_id, self.sku) from None

    def _before(self, batch: Batch) -> Iterator[Batch]:
        """The batches that are preferred to this one, the best first."""
        return takewhile(lambda other: other is not batch, self.batches_by_preference())

    def _place_again(
        self, relocation: Relocation, released: Sequence[Allocation], reason: ReleaseReason
    ) -> Iterator[Sequence[str]]:
        """Find a batch for each released line, the oldest request first, and move the lines there."""
        targets: dict[Allocation, Batch | None] = {}
        for page in _pages(sorted(released, key=attrgetter("requested"))):
            targets.update((allocation, self._reserve(allocation.line)) for allocation in page)
            yield ()
        yield from self._move(relocation, released, targets, reason)

    def _move(
        self,
        relocation: Relocation,
        released: Sequence[Allocation],
        targets: Mapping[Allocation, Batch | None],
        reason: ReleaseReason,
    ) -> Iterator[Sequence[str]]:
        """Release the lines that leave their batch, in the order of `released`, then place them in that of `targets`.

        Each step yields the orders whose line has reached its place.
        """
        leaving = {allocation for allocation, target in targets.items() if target is not allocation.batch}
        for page in _pages(released):
            for allocation in page:
                if allocation in leaving:
                    self._deallocated(allocation.line, allocation.batch, reason)
            yield ()
        for page in _pages(list(targets)):
            for allocation in page:
                if allocation in leaving and allocation.batch is not None:
                    target = targets[allocation]
                    relocation.moves.append(Move(allocation.line, allocation.batch, target, allocation.requested))
                    self._place(allocation, target)
            yield [allocation.line.order_id for allocation in page]

    def _tell(self, event: Callable[..., Event], **facts: object) -> int:
        """Raise an event, with the next sequence; returns that."""
        self.sequence += 1
        self._events.append(event(sku=self.sku, sequence=self.sequence, **facts))
        return self.sequence

    def _tell_crossings(self) -> None:
        """Tell that stock has become low, or is back after it had run out: once, when it has come to be so.

        This is asked after every command; of a product that has stock and that nobody watches nothing is added up.
        """
        before = self._level_before
        is_watched = self.reorder_point is not None or before.reorder_point is not None
        if not is_watched and before.available_qty and any(batch.available_qty for batch in self.batches.values()):
            return
        now = self._level_before = self.stock_level()
        # Where all its events are still to be taken, the product was not there before.
        if now.available_qty and not before.available_qty and self.sequence > len(self._events):
            self._tell(BackInStock, available_qty=now.available_qty)
        if now.is_low and not before.is_low:
            self._tell(
                LowStock,
                available_qty=now.available_qty,
                reorder_point=now.reorder_point,
                backordered_qty=self.backordered_qty,
                incoming_qty=now.incoming_qty,
            )

    def _reserve(self, line: OrderLine) -> Batch | None:
        """Take the stock for a whole line from the batch that serves it best."""
        batch = self.best_batch(line.qty)
        if batch is not None:
            batch.hold(line)
        return batch

    def _release(self, allocation: Allocation) -> None:
        """Give back what its batch holds for the line, or what the queue counts for it."""
        if allocation.batch is None:
            self.backordered_qty -= allocation.line.qty
        else:
            allocation.batch.release(allocation.line)

    def _place(self, allocation: Allocation, batch: Batch | None) -> None:
        """Give the line to the batch that has reserved the stock for it, or else to the queue."""
        line = allocation.line
        allocation.batch = batch
        if batch is None:
            allocation.allocated = None
            self.backordered_qty += line.qty
            self._out_of_stock(line)
            self._tell(LineBackordered, order_id=line.order_id, qty=line.qty)
        else:
            allocation.allocated = self._tell(LineAllocated, order_id=line.order_id, qty=line.qty, batch_ref=batch.ref)

    def _out_of_stock(self, line: OrderLine) -> None:
        self._tell(OutOfStock, order_id=line.order_id, qty=line.qty)

    def _fail(self, line: OrderLine, reason: Literal["out_of_stock", "conflict"]) -> None:
        self._tell(AllocationFailed, order_id=line.order_id, qty=line.qty, reason=reason)

    def _deallocated(
        self, line: OrderLine, batch: Batch | None, reason: ReleaseReason, *, new_qty: int | None = None
    ) -> None:
        ref = batch.ref if batch else None
        facts = {"order_id": line.order_id, "qty": line.qty, "batch_ref": ref, "reason": reason}
        self._tell(LineDeallocated, **facts, new_qty=new_qty)

    def _to_release(self, batch: Batch, overrun: int) -> Iterator[Allocation]:
        """The lines that have to leave the batch, the one allocated last first, until `overrun` pieces are free."""
        if overrun <= 0:
            return
        held = [
            allocation
            for allocation in self.allocations.values()
            if allocation.batch is batch and allocation.shipped is None
        ]
        for allocation in sorted(held, key=attrgetter("allocated"), reverse=True):
            yield allocation
            overrun -= allocation.line.qty
            if overrun <= 0:
                return
        message = f"{overrun} allocated pieces of batch {batch.ref} are not in memory; fetch its lines first"
        raise LookupError(message)


def _pages(allocations: Sequence[Allocation]) -> Iterator[Sequence[Allocation]]:
    return (allocations[start : start + STEP] for start in range(0, len(allocations), STEP))
