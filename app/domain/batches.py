"""The batches of one product, in the order in which stock is allocated from them."""

from collections.abc import Iterator
from itertools import takewhile
from operator import attrgetter

from app.domain.errors import BatchNotFoundError
from app.domain.stock import Batch, StockLevel


class StockNotReleasedError(Exception):
    """The batch has stock for the line as soon as holds that have ended are released."""


class Batches(dict[str, Batch]):
    """Batches by their ref. Call `reorder` after the ETA of a batch has changed."""

    __slots__ = ("_preferred",)

    def __init__(self) -> None:
        super().__init__()
        self._preferred: list[Batch] | None = None

    def add(self, batch: Batch) -> Batch:
        """Add a batch that is not there yet; returns it."""
        self._preferred = None
        self[batch.ref] = batch
        return batch

    def find(self, ref: str) -> Batch:
        """The batch with that ref. Raises BatchNotFoundError."""
        try:
            return self[ref]
        except KeyError:
            raise BatchNotFoundError(ref) from None

    def reorder(self) -> None:
        """Sort the batches again, because an ETA has changed."""
        self._preferred = None

    def by_preference(self) -> list[Batch]:
        """The warehouse first, then the earliest ETA, then the batch recorded first."""
        if self._preferred is None:
            self._preferred = sorted(self.values(), key=attrgetter("preference"))
        return self._preferred

    def best(self, qty: int) -> Batch | None:
        """The batch that a line of `qty` pieces is allocated from; None where no batch can hold the whole line.

        No other batch can serve the line sooner, so its ETA is also the earliest date for `qty` pieces. Raises
        StockNotReleasedError where that depends on holds that have ended and are not in memory.
        """
        for batch in self.by_preference():
            if batch.available_qty >= qty:
                return batch
            if batch.overdue_qty and batch.available_qty + batch.overdue_qty >= qty:
                raise StockNotReleasedError(batch.ref)
        return None

    def before(self, batch: Batch) -> Iterator[Batch]:
        """The batches that are preferred to this one, the most preferred first."""
        return takewhile(lambda other: other is not batch, self.by_preference())

    def room_before(self, batch: Batch) -> int:
        """The largest line that a batch preferred to this one could hold."""
        return max((other.available_qty for other in self.before(batch)), default=0)

    @property
    def largest_available_qty(self) -> int:
        """The largest line that could be allocated now."""
        return max((batch.available_qty for batch in self.values()), default=0)

    def level(self, reorder_point: int | None, held_qty: int) -> StockLevel:
        """What is available now. Batches that are not in memory have nothing available."""
        level = StockLevel(reorder_point, held_qty)
        for batch in self.values():
            level.add(batch)
        return level
