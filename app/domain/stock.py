"""What a product is made of: batches of stock, order lines, and the hold that one has on the other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date


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
    `first_eta` are what it was recorded with, whatever changed since. `allocated_qty` pieces are held by
    `allocated_lines` order lines, `shipped_qty` pieces have left the house.
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
        """Pieces that no line holds and that have not left. Never below 0."""
        return self.qty - self.allocated_qty - self.shipped_qty

    @property
    def preference(self) -> tuple[bool, date, int]:
        """Sorts batches: the warehouse first, then the earliest ETA, then the batch recorded first."""
        return (self.eta is not None, self.eta or date.min, self.number)

    def is_here_by(self, day: date) -> bool:
        """Whether it is in the warehouse, or arrives on that day at the latest."""
        return self.eta is None or self.eta <= day

    def hold(self, line: OrderLine) -> None:
        """Keep the pieces of the line for it."""
        self.allocated_qty += line.qty
        self.allocated_lines += 1

    def release(self, line: OrderLine) -> None:
        """Give back what was held for the line."""
        self.allocated_qty -= line.qty
        self.allocated_lines -= 1

    def ship(self, line: OrderLine) -> None:
        """Let go what was held for the line: it leaves the house."""
        self.release(line)
        self.shipped_qty += line.qty


@dataclass(slots=True)
class StockLevel:
    """How much there is of a product at some moment, and the reorder point then; None: nobody asked to be told.

    `incoming_qty` of the available pieces have not arrived yet.
    """

    reorder_point: int | None
    available_qty: int = 0
    incoming_qty: int = 0

    @property
    def is_low(self) -> bool:
        """Whether less is available than somebody wants there to be."""
        return self.reorder_point is not None and self.available_qty < self.reorder_point

    def add(self, batch: Batch) -> None:
        """Count what the batch has available."""
        self.available_qty += batch.available_qty
        if batch.eta is not None:
            self.incoming_qty += batch.available_qty


@dataclass(slots=True, eq=False)
class Allocation:
    """An order line that was accepted: held by `batch`, or waiting in the queue where that is None.

    `requested` is its place in the queue, `allocated` tells how late it came to its batch, `shipped` when it left;
    all three are sequences.
    """

    line: OrderLine
    requested: int
    batch: Batch | None = None
    allocated: int | None = None
    shipped: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A line that had to leave a batch, and the batch it moved to; None: to the queue.

    `requested` is the line's place in the queue, a sequence.
    """

    line: OrderLine
    from_batch: Batch
    to_batch: Batch | None
    requested: int


@dataclass(slots=True)
class Relocation:
    """Lines of one batch on their way to other batches or to the queue.

    A batch may hold 100,000 lines, so the work is done in steps of bounded length. The caller iterates over `steps` to
    the end and may store the product between two steps; each step yields the orders whose line has reached its place.
    Only then `moves` is complete: the lines that moved, oldest request first.
    """

    moves: list[Move] = field(default_factory=list)
    steps: Iterable[Sequence[str]] = ()
    is_long: bool = False

    def run(self) -> list[Move]:
        """Take all steps at once. Returns `moves`."""
        for _ in self.steps:
            pass
        return self.moves
