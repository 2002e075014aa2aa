"""Which batch an order line may get, and which it gets: the rule of allocation, from the contract alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from faults.journal import Entry

NEVER = "9999-12-31"
"""After every day of the load. Days are compared as they are written."""


@dataclass(frozen=True, slots=True)
class Wants:
    """What a line requires of its batch: its locations, the best one first, and the last day of its goods.

    Lines with a higher priority are served first.
    """

    places: tuple[str, ...] = ()
    good_until: str | None = None
    priority: int = 5


ANYTHING = Wants()


class Terms(Protocol):
    """What the rule reads of a batch. The load has no batch that expires."""

    @property
    def eta(self) -> str | None:
        """The day on which it arrives; None: it is in the warehouse."""

    @property
    def available_qty(self) -> int:
        """Pieces that can be allocated; none of a batch that is blocked."""

    @property
    def location(self) -> str:
        """Where it is."""

    @property
    def best_before(self) -> str | None:
        """The last day on which the goods are good; None: they do not expire."""


def wants_of(entries: Iterable[Entry]) -> dict[tuple[str, str], Wants]:
    """What each line requires. A client never asks for the same line with other requirements."""
    return {
        (entry.data["order_id"], line["sku"]): Wants(
            tuple(line.get("from", ())), line.get("good_until"), line.get("priority", 5)
        )
        for entry in entries
        for line in entry.data.get("lines", [entry.data])
        if line.keys() & {"from", "good_until", "priority"} and "order_id" in entry.data
    }


def can_hold(batch: Terms, qty: int, wants: Wants) -> bool:
    """Whether the batch is where the line wants it, is good for long enough, and has the pieces available."""
    is_there = not wants.places or batch.location in wants.places
    is_good = wants.good_until is None or (batch.best_before or NEVER) >= wants.good_until
    return is_there and is_good and batch.available_qty >= qty


def preference(batch: Terms, number: int, wants: Wants) -> tuple[int, bool, str, str, int]:
    """Sorts batches, the preferred one first; `number` is the position of the batch among those recorded."""
    rank = wants.places.index(batch.location) if batch.location in wants.places else 0
    return (rank, batch.eta is not None, batch.eta or "", batch.best_before or NEVER, number)
