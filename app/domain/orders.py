"""An order of several lines: as requested, and as placed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Self

from app.domain.stock import Allocation, OrderLine


@dataclass(frozen=True, slots=True)
class Order:
    """Lines that are ordered together, sorted by SKU and name. Each is allocated by its product."""

    order_id: str
    lines: tuple[OrderLine, ...]

    @classmethod
    def of(cls, order_id: str, lines: Iterable[OrderLine]) -> Self:
        """The order of these lines."""
        return cls(order_id, tuple(sorted(lines, key=attrgetter("sku", "name"))))


PlacedRow = tuple[str, int, int] | tuple[str, int, int, str]
"""SKU, pieces, place in the queue and, if it has one, name of a line."""

NEVER = 0
"""The place in the queue of a line that was never requested of its product: sequences begin with 1."""


@dataclass(frozen=True, slots=True)
class PlacedLine:
    """A line as it was placed. `requested` is its place in the queue of its product: a line placed anew has another."""

    sku: str
    qty: int
    requested: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """What was placed under an id, to recognise a repeated order; a repetition stores it with the quantities of then.

    It is valid as long as one of its lines exists; lines that are added to the id later do not revive it. With
    `is_held` the order was held and has not been confirmed as a whole.
    """

    order_id: str
    lines: tuple[PlacedLine, ...]
    is_held: bool = False

    @classmethod
    def of(
        cls,
        order_id: str,
        allocations: Iterable[Allocation],
        left_out: Iterable[OrderLine] = (),
        *,
        is_held: bool = False,
    ) -> Self:
        """The order of these lines, and of lines that belong to it and are not allocated yet."""
        lines = [
            PlacedLine(each.line.sku, each.line.qty, each.requested_sequence, each.line.name) for each in allocations
        ]
        lines += (PlacedLine(line.sku, line.qty, NEVER, line.name) for line in left_out)
        return cls(order_id, tuple(sorted(lines, key=attrgetter("sku", "name"))), is_held)

    @classmethod
    def of_rows(cls, order_id: str, rows: Iterable[PlacedRow], *, is_held: bool = False) -> Self:
        """The order that was stored as `rows`."""
        return cls(order_id, tuple(PlacedLine(*row) for row in rows), is_held)

    def as_now(self, present: Iterable[Allocation]) -> Self:
        """What was placed, with the quantities that its lines have now; one that is gone has the quantity as placed.

        It is held where it was, or where one of its lines is.
        """
        now = {(each.line.sku, each.requested_sequence): each for each in present}
        found = [(line, now.get((line.sku, line.requested))) for line in self.lines]
        lines = (line if each is None else replace(line, qty=each.line.qty) for line, each in found)
        is_held = self.is_held or any(each is not None and each.is_held for _, each in found)
        return type(self)(self.order_id, tuple(lines), is_held)

    @property
    def rows(self) -> list[PlacedRow]:
        """SKU, pieces, place in the queue and name of each line; without the name if it has none."""
        return [
            (line.sku, line.qty, line.requested, line.name) if line.name else (line.sku, line.qty, line.requested)
            for line in self.lines
        ]

    def holds(self, present: Sequence[Allocation]) -> bool:
        """Whether one of its lines is among those that the order has now."""
        left = {(each.line.sku, each.requested_sequence) for each in present}
        return any((line.sku, line.requested) in left for line in self.lines)

    def is_made_of(self, lines: Sequence[OrderLine]) -> bool:
        """Whether these lines, sorted by SKU and name, are what was placed."""
        placed = [(line.sku, line.name, line.qty) for line in self.lines]
        return placed == [(line.sku, line.name, line.qty) for line in lines]
