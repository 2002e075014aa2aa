"""Batches and order lines, derived from events."""

from dataclasses import dataclass


@dataclass(slots=True)
class ReplayedBatch:
    """A batch, derived from events."""

    ref: str
    sku: str
    qty: int
    eta: str | None
    allocated_qty: int = 0
    shipped_qty: int = 0
    held_qty: int = 0
    location: str = "main"
    best_before: str | None = None
    blocked: bool = False

    @property
    def free_qty(self) -> int:
        """Pieces that are neither allocated nor shipped."""
        return self.qty - self.allocated_qty - self.shipped_qty

    @property
    def available_qty(self) -> int:
        """The free pieces; none of a batch that is blocked."""
        return 0 if self.blocked else self.free_qty


@dataclass(slots=True)
class ReplayedLine:
    """An order line, derived from events. `released`: deallocated, and its next place follows.

    `number` counts the lines in the order in which they were requested.
    `shipped`: no further event may name it. `held_until`: the end of its hold; None: it is firm.
    """

    order_id: str
    sku: str
    qty: int
    batch_ref: str | None = None
    released: bool = False
    shipped: bool = False
    held_until: float | None = None
    number: int = 0

    @property
    def waits(self) -> bool:
        """Whether it is in the queue."""
        return self.batch_ref is None and not self.released
