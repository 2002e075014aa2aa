"""Batches of stock, order lines, and the allocation of a line to a batch."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class OrderLine:
    """Pieces of one SKU for one order. Its identity is (`order_id`, `sku`)."""

    order_id: str
    sku: str
    qty: int


@dataclass(slots=True, eq=False)
class Batch:
    """Stock that was purchased together.

    `number` is the sequence of the event that recorded the batch, and identifies it within its product. `first_qty` and
    `first_eta` are the values that it was recorded with. `allocated_lines` order lines hold `allocated_qty` pieces;
    `shipped_qty` pieces were shipped.
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

    @property
    def available_qty(self) -> int:
        """Pieces that no line holds and that were not shipped. Never below 0."""
        return self.qty - self.allocated_qty - self.shipped_qty

    @property
    def preference(self) -> tuple[bool, date, int]:
        """Sorts batches: the warehouse first, then the earliest ETA, then the batch recorded first."""
        return (self.eta is not None, self.eta or date.min, self.number)

    def is_here_by(self, day: date) -> bool:
        """Whether the batch is in the warehouse, or arrives on that day or earlier."""
        return self.eta is None or self.eta <= day

    def hold(self, line: OrderLine) -> None:
        """Hold the pieces of the line."""
        self.allocated_qty += line.qty
        self.allocated_lines += 1

    def release(self, line: OrderLine) -> None:
        """Release the pieces of the line."""
        self.allocated_qty -= line.qty
        self.allocated_lines -= 1

    def ship(self, line: OrderLine) -> None:
        """Ship the pieces that are held for the line."""
        self.release(line)
        self.shipped_qty += line.qty


@dataclass(slots=True)
class StockLevel:
    """What is available of a product, and its reorder point; None: it has none.

    `incoming_qty` of the available pieces have not arrived yet.
    """

    reorder_point: int | None
    available_qty: int = 0
    incoming_qty: int = 0

    @property
    def is_low(self) -> bool:
        """Whether less is available than the reorder point."""
        return self.reorder_point is not None and self.available_qty < self.reorder_point

    def add(self, batch: Batch) -> None:
        """Add what the batch has available."""
        self.available_qty += batch.available_qty
        if batch.eta is not None:
            self.incoming_qty += batch.available_qty


@dataclass(slots=True, eq=False)
class Allocation:
    """An accepted order line: held by `batch`, or waiting in the queue where that is None.

    The sequences are those of the events that requested the line, put it on its batch, and shipped it.
    `requested_sequence` is also its place in the queue.
    """

    line: OrderLine
    requested_sequence: int
    batch: Batch | None = None
    allocated_sequence: int | None = None
    shipped_sequence: int | None = None
