"""Stored sums of products and batches, beside the same sums of their lines."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class CountedHolds:
    """What a product has stored about its holds, and the same of its lines: held pieces, and the end of the first hold.

    The stored end may be earlier than that of any hold; None: there is no hold.
    """

    sku: str
    held_qty: int
    earliest_hold_end: datetime | None
    held_qty_of_lines: int
    first_hold_end: datetime | None

    @property
    def has_wrong_end(self) -> bool:
        """Whether a hold ends before the stored time. Nothing would end it then."""
        if self.first_hold_end is None:
            return False
        return self.earliest_hold_end is None or self.earliest_hold_end > self.first_hold_end

    @property
    def are_wrong(self) -> bool:
        """Whether the stored values do not agree with the lines."""
        return self.held_qty != self.held_qty_of_lines or self.has_wrong_end


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedProduct(CountedHolds):
    """A product with the sums over its rows.

    `room` is the largest number of pieces that is free in one batch. `beyond` counts events above the sequence of the
    product, up to `last_beyond`; `events` counts the others, from `first_event` on.
    """

    sequence: int
    backordered_qty: int
    queued_qty: int
    smallest_queued: int | None
    room: int
    has_wrong_batches: bool
    beyond: int
    last_beyond: int | None
    events: int
    first_event: int | None

    @property
    def queue_fits(self) -> bool:
        """Whether a batch could hold a line of the queue."""
        return self.smallest_queued is not None and self.smallest_queued <= self.room

    @property
    def missing_events(self) -> int:
        """How many events are missing after the first one: a database may be older than its first events."""
        if self.first_event is None:
            return 0
        return self.sequence - self.first_event + 1 - self.events


@dataclass(frozen=True, slots=True)
class CountedBatch:
    """A batch with its sums, and those of its lines.

    The lines have `lines_allocated` pieces that are not shipped: `lines_held` of them are held, the others are in
    `firm_lines`. `lines_shipped` pieces are shipped.
    """

    number: int
    ref: str
    qty: int
    allocated_qty: int
    allocated_lines: int
    shipped_qty: int
    held_qty: int
    lines_allocated: int
    firm_lines: int
    lines_shipped: int
    lines_held: int

    @property
    def has_wrong_sums(self) -> bool:
        """Whether the sums of allocated and shipped lines are wrong."""
        stored = (self.allocated_qty, self.allocated_lines, self.shipped_qty)
        return stored != (self.lines_allocated, self.firm_lines, self.lines_shipped)

    @property
    def has_wrong_holds(self) -> bool:
        """Whether the sum of held pieces is wrong."""
        return self.held_qty != self.lines_held

    @property
    def storable_sums(self) -> tuple[int, int, int, int]:
        """The sums of the lines as a repair stores them: allocated pieces, firm lines, shipped and held pieces.

        A batch whose lines have more pieces than it becomes full, so that it receives no further lines.
        """
        shipped = min(self.lines_shipped, self.qty)
        allocated = min(self.lines_allocated, self.qty - shipped)
        return allocated, self.firm_lines, shipped, min(self.lines_held, allocated)

    @property
    def is_oversold(self) -> bool:
        """Whether its lines have more pieces than the batch."""
        return self.lines_allocated + self.lines_shipped > self.qty
