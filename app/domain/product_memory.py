"""What a product in memory contains, and how it raises events.

A product in memory is not the complete history of its SKU. It contains the usable batches, the batches and lines that
the commands name, and what a handler has fetched since. The cost of a command therefore does not depend on how much was
sold before.

The sequence of the product's events is its clock: "first" and "last" (recorded, requested, allocated) mean the smallest
and the largest sequence of the event.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from app.domain import events
from app.domain.batches import Batches
from app.domain.choice import NEVER
from app.domain.events import Event
from app.domain.stock import Allocation, Batch, StockLevel

UNKNOWN_DAY = date.min
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True, eq=False)
class ProductMemory:
    """The state of one SKU.

    `held_qty` pieces are held, and no hold ends before `earliest_hold_end`. `hold_clock` is the latest time at which
    a hold was placed, extended or ended, and `now` the time of this transaction, on the day `today`.

    No batch with available pieces expires before `next_expiry`; None: none expires. Batches whose `best_before` is
    earlier have expired, and this was taken into account.

    `allocations` are the lines in memory by `OrderLine.key`.

    With `is_partial` batches in some locations are not in memory. Then commands may only place lines, and the stock
    level is not known; a product with a reorder point or with holds must not be partial.
    """

    sku: str
    sequence: int = 0
    backordered_qty: int = 0
    reorder_point: int | None = None
    held_qty: int = 0
    earliest_hold_end: datetime | None = None
    hold_clock: datetime | None = None
    next_expiry: date | None = None
    now: datetime = LONG_AGO
    today: date = UNKNOWN_DAY
    is_partial: bool = False
    batches: Batches = field(default_factory=Batches)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    _events: list[Event] = field(default_factory=list)
    # The stock level when events were taken last. `attach_batch` adds the batches that are read.
    _level_before: StockLevel = field(init=False)
    _expiry_before: date = field(init=False)

    def __post_init__(self) -> None:
        self._level_before = StockLevel(self.reorder_point, self.held_qty)
        self._expiry_before = self.next_expiry or NEVER

    def attach_batch(self, batch: Batch) -> Batch:
        """Add a batch that was recorded earlier, unless it is in memory. Returns the one in memory."""
        if batch.ref not in self.batches:
            # It counts in the level before if it had not expired when the product was stored.
            batch.is_expired = batch.best_before is not None and batch.best_before < self._expiry_before
            self._level_before.add(batch)
            self.batches.add(batch)
            self._judge(batch)
        return self.batches[batch.ref]

    def attach_allocation(self, allocation: Allocation) -> Allocation:
        """Add a line that was accepted earlier, unless it is in memory, where it may have changed."""
        return self.allocations.setdefault(allocation.line.key, allocation)

    def forget_lines(self, keys: Iterable[str]) -> None:
        """Remove lines from memory. The caller has stored them, and no command of the group names them."""
        for key in keys:
            self.allocations.pop(key, None)

    def set_time(self, now: datetime, today: date) -> None:
        """Set the time and the day of this transaction. A clock that runs behind does not revive a hold that has ended.

        The batches that may expire today must be in memory.
        """
        self.now = now if self.hold_clock is None else max(now, self.hold_clock)
        self.today = today
        if self.next_expiry is not None and self.next_expiry < today and not self.is_partial:
            self.next_expiry = None
        for batch in self.batches.values():
            self._judge(batch)

    @property
    def has_expired(self) -> bool:
        """Whether batches have expired since the product was stored last."""
        return self._expiry_before < self.today and not self.is_partial

    @property
    def has_overdue_holds(self) -> bool:
        """Whether a hold may have ended, so that its stock has to be released before anything else happens."""
        return self.earliest_hold_end is not None and self.earliest_hold_end <= self.now

    def take_events(self) -> list[Event]:
        """The events of a command that has ended, oldest first; those of the stock level come last."""
        self._raise_stock_level_events()
        return self.drain_events()

    def drain_events(self) -> list[Event]:
        """The events so far of a command that is still running.

        The stock level counts only at the end of a command, so its events are not raised here.
        """
        drained, self._events = self._events, []
        return drained

    def _judge(self, batch: Batch) -> None:
        """Decide whether the goods of a batch have expired; if not, keep the first day on which one expires."""
        if self.today == UNKNOWN_DAY:
            # `set_time` judges all batches.
            return
        batch.is_expired = batch.best_before is not None and batch.best_before < self.today
        if batch.best_before is not None and not batch.is_expired:
            self.next_expiry = min(batch.best_before, self.next_expiry or NEVER)

    def _raise(self, event_type: Callable[..., Event], **facts: object) -> int:
        """Raise an event with the next sequence; returns the sequence."""
        self.sequence += 1
        self._events.append(event_type(sku=self.sku, sequence=self.sequence, **facts))
        return self.sequence

    def _raise_stock_level_events(self) -> None:
        """Raise LowStock or BackInStock where the stock level has crossed the limit since the last call.

        This runs after each command. Nothing is summed up for a product with stock and without a reorder point.
        """
        if self.is_partial:
            # Stock has only become less, and there is no reorder point.
            return
        before = self._level_before
        is_watched = self.reorder_point is not None or before.reorder_point is not None
        if not is_watched and before.available_qty and any(batch.available_qty for batch in self.batches.values()):
            return
        now = self._level_before = self.batches.level(self.reorder_point, self.held_qty)
        # A product of which no event has been taken yet is new, so nothing of it is back.
        if now.available_qty and not before.available_qty and self.sequence > len(self._events):
            self._raise(events.BackInStock, available_qty=now.available_qty)
        if now.is_low and not before.is_low:
            self._raise(
                events.LowStock,
                available_qty=now.unsold_qty,
                reorder_point=now.reorder_point,
                backordered_qty=self.backordered_qty,
                incoming_qty=now.incoming_qty,
            )
