"""Batches of stock, order lines, and the allocation of a line to a batch."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter

from app.domain.choice import ANY_BATCH, MAIN_LOCATION, NEVER, Requirements, queue_rank


def line_key(order_id: str, name: str) -> str:
    """Identifies a line within its SKU: the order id, and behind a slash the name of the line if it has one.

    Identifiers contain no slash.
    """
    return f"{order_id}/{name}" if name else order_id


def split_line_key(key: str) -> tuple[str, str]:
    """The order id and the name of the line, which is empty if it has none."""
    order_id, _, name = key.partition("/")
    return order_id, name


@dataclass(frozen=True, slots=True)
class OrderLine:
    """Pieces of one SKU for one order. Its identity is (`order_id`, `sku`, `name`).

    `name` distinguishes several lines of one order and SKU; empty: it has none. Callers and tables call it `line`.
    """

    order_id: str
    sku: str
    qty: int
    requirements: Requirements = ANY_BATCH
    name: str = ""

    @property
    def key(self) -> str:
        """See `line_key`."""
        return line_key(self.order_id, self.name)


@dataclass(frozen=True, slots=True)
class BatchTerms:
    """Where a batch is, how long its goods are good, and whether it is blocked.

    The goods are good through the day `best_before`; None: they do not expire. Nothing is allocated from a blocked
    batch.
    """

    location: str = MAIN_LOCATION
    best_before: date | None = None
    is_blocked: bool = False


PLAIN_TERMS = BatchTerms()
"""The terms of a batch that was recorded without any."""


@dataclass(slots=True, eq=False)
class Batch:
    """Stock that was purchased together.

    `number` is the sequence of the event that recorded the batch, and identifies it within its product. `first_qty`,
    `first_eta` and `first_terms` are the values that it was recorded with. `allocated_qty` pieces are allocated to
    lines: `held_qty` of them to lines that are held, the others to `allocated_lines` firm lines. `shipped_qty` pieces
    were shipped.

    `overdue_qty` of the held pieces belong to holds that have ended and are not in memory. `is_expired` says that
    `best_before` has passed today. Both are not stored.
    """

    number: int
    ref: str
    qty: int
    eta: date | None
    first_qty: int
    first_eta: date | None
    allocated_qty: int = 0
    allocated_lines: int = 0
    shipped_qty: int = 0
    held_qty: int = 0
    location: str = MAIN_LOCATION
    best_before: date | None = None
    is_blocked: bool = False
    first_terms: BatchTerms = PLAIN_TERMS
    overdue_qty: int = 0
    is_expired: bool = False

    @property
    def free_qty(self) -> int:
        """Pieces that are neither allocated nor shipped. Never below 0."""
        return self.qty - self.allocated_qty - self.shipped_qty

    @property
    def available_qty(self) -> int:
        """Pieces that can be allocated: the free ones, none of a batch that is blocked or has expired."""
        return self.qty - self.allocated_qty - self.shipped_qty if self.is_fit else 0

    @property
    def is_fit(self) -> bool:
        """Whether the batch is neither blocked nor expired."""
        return not (self.is_blocked or self.is_expired)

    @property
    def terms(self) -> BatchTerms:
        """The terms of the batch as they are now."""
        return BatchTerms(self.location, self.best_before, self.is_blocked)

    @property
    def preference(self) -> tuple[bool, date, date, int]:
        """Sorts batches: the warehouse, the earliest ETA, the goods that expire first, the batch recorded first."""
        return (self.eta is not None, self.eta or date.min, self.best_before or NEVER, self.number)

    @property
    def arrival(self) -> date:
        """The day on which the pieces are in the warehouse; the first day of the calendar if they are there."""
        return self.eta or date.min

    def can_hold(self, line: OrderLine) -> bool:
        """Whether the line may be allocated to the batch as a whole."""
        return self.available_qty >= line.qty and self.meets(line.requirements)

    def meets(self, requirements: Requirements) -> bool:
        """Whether the batch is in one of the locations, and its goods are good for as long as required."""
        is_elsewhere = requirements.locations and self.location not in requirements.locations
        return not is_elsewhere and self.is_good_through(requirements.good_until)

    def is_good_through(self, day: date | None) -> bool:
        """Whether the goods are good through the day. A batch that has expired has nothing available anyway."""
        return day is None or self.best_before is None or self.best_before >= day

    def is_here_by(self, day: date) -> bool:
        """Whether the batch is in the warehouse, or arrives on that day or earlier."""
        return self.eta is None or self.eta <= day

    def take(self, line: OrderLine, *, is_held: bool = False) -> None:
        """Allocate the pieces of the line, which is held or firm."""
        self.allocated_qty += line.qty
        self._count(line.qty, 1, is_held=is_held)

    def release(self, line: OrderLine, *, is_held: bool = False) -> None:
        """Release the pieces of the line, which was held or firm."""
        self.allocated_qty -= line.qty
        self._count(-line.qty, -1, is_held=is_held)

    def confirm(self, line: OrderLine) -> None:
        """Make a held line firm."""
        self.held_qty -= line.qty
        self.allocated_lines += 1

    def ship(self, line: OrderLine) -> None:
        """Ship the pieces that are allocated to a firm line."""
        self.release(line)
        self.shipped_qty += line.qty

    def _count(self, qty: int, lines: int, *, is_held: bool) -> None:
        if is_held:
            self.held_qty += qty
        else:
            self.allocated_lines += lines


@dataclass(slots=True)
class StockLevel:
    """What is available of a product, and its reorder point; None: it has none.

    `incoming_qty` of the available pieces have not arrived yet. `held_qty` further pieces are held.
    """

    reorder_point: int | None
    held_qty: int = 0
    available_qty: int = 0
    incoming_qty: int = 0

    @property
    def unsold_qty(self) -> int:
        """Pieces that are available or held. A hold that ends without a sale must not have looked like low stock."""
        return self.available_qty + self.held_qty

    @property
    def is_low(self) -> bool:
        """Whether fewer pieces are unsold than the reorder point."""
        return self.reorder_point is not None and self.unsold_qty < self.reorder_point

    def add(self, batch: Batch) -> None:
        """Add what the batch has available."""
        self.available_qty += batch.available_qty
        if batch.eta is not None:
            self.incoming_qty += batch.available_qty


@dataclass(slots=True, eq=False)
class Allocation:
    """An accepted order line: allocated to `batch`, or waiting in the queue where that is None.

    The sequences are those of the events that requested the line, put it on its batch, and shipped it. A line with
    `held_until` is a hold: its allocation ends at that time unless it is confirmed.
    """

    line: OrderLine
    requested_sequence: int
    batch: Batch | None = None
    allocated_sequence: int | None = None
    shipped_sequence: int | None = None
    held_until: datetime | None = None

    @property
    def place_in_queue(self) -> tuple[int, int]:
        """Sorts the queue: the highest priority first, then the oldest request."""
        return (queue_rank(self.line.requirements.priority), self.requested_sequence)

    @property
    def is_held(self) -> bool:
        """Whether the allocation has an end."""
        return self.held_until is not None


def in_queue_order(lines: Iterable[Allocation]) -> list[Allocation]:
    """The lines in the order of the queue. Two sorts by an attribute are faster than one by `place_in_queue`."""
    ordered = sorted(lines, key=attrgetter("requested_sequence"))
    return sorted(ordered, key=attrgetter("line.requirements.priority"), reverse=True)
