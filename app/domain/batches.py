"""The batches of one product, in the order in which stock is allocated from them."""

from collections.abc import Iterator
from datetime import date
from itertools import takewhile
from operator import attrgetter

from app.domain.choice import ANY_BATCH, NEVER, Requirements
from app.domain.errors import BatchNotFoundError
from app.domain.stock import Batch, StockLevel


class StockNotReleasedError(Exception):
    """The batch has stock for the line as soon as holds that have ended are released."""


class Batches(dict[str, Batch]):
    """Batches by their ref. Call `reorder` after something that decides on the preference of a batch has changed."""

    __slots__ = ("_preferred",)

    def __init__(self) -> None:
        super().__init__()
        self._preferred: dict[tuple[str, ...], list[Batch]] = {}

    def add(self, batch: Batch) -> Batch:
        """Add a batch that is not there yet; returns it."""
        self._preferred.clear()
        self[batch.ref] = batch
        return batch

    def find(self, ref: str) -> Batch:
        """The batch with that ref. Raises BatchNotFoundError."""
        try:
            return self[ref]
        except KeyError:
            raise BatchNotFoundError(ref) from None

    def reorder(self) -> None:
        """Sort the batches again, because an ETA, a location or a best-before day has changed."""
        self._preferred.clear()

    def by_preference(self, locations: tuple[str, ...] = ()) -> list[Batch]:
        """The batches in these locations, those in the first one first; without locations, all batches.

        Of one location: the warehouse first, then the earliest ETA, then the goods that expire first, then the batch
        recorded first.
        """
        preferred = self._preferred.get(locations)
        if preferred is None:
            preferred = sorted(self.values(), key=attrgetter("preference"))
            if locations:
                rank = {location: number for number, location in enumerate(locations)}
                preferred = [batch for batch in preferred if batch.location in rank]
                preferred.sort(key=lambda batch: rank[batch.location])
            self._preferred[locations] = preferred
        return preferred

    def best(self, qty: int, requirements: Requirements = ANY_BATCH) -> Batch | None:
        """The batch that a line of `qty` pieces is allocated from; None where no batch can hold the whole line.

        Raises StockNotReleasedError where that depends on holds that have ended and are not in memory.
        """
        for batch in self.by_preference(requirements.locations):
            if not batch.is_good_through(requirements.good_until):
                continue
            if batch.available_qty >= qty:
                return batch
            if batch.overdue_qty and batch.is_fit and batch.available_qty + batch.overdue_qty >= qty:
                raise StockNotReleasedError(batch.ref)
        return None

    def refused_before(self, best: Batch | None, locations: tuple[str, ...]) -> Iterator[Batch]:
        """The batches that come before the one that a line gets, the most preferred first, then those elsewhere."""
        preferred = self.by_preference(locations)
        yield from takewhile(lambda each: each is not best, preferred)
        if locations:
            yield from (each for each in self.by_preference() if each.location not in locations)

    def before(self, batch: Batch, requirements: Requirements) -> Iterator[Batch]:
        """The batches that a line would rather have than this one, the most preferred first.

        One whose location the line does not accept comes last; one that is not good for long enough keeps its place.
        """
        preferred = takewhile(lambda other: other is not batch, self.by_preference(requirements.locations))
        return (each for each in preferred if each.meets(requirements))

    def room_before(self, batch: Batch) -> int:
        """The largest line that a batch preferred to this one could hold. Lines may prefer each other location."""
        others = (each for each in self.values() if each is not batch)
        preferred = (each for each in others if each.location != batch.location or each.preference < batch.preference)
        return max((each.available_qty for each in preferred), default=0)

    def offer(self) -> tuple[list[str], date]:
        """The locations with available pieces, and the last day through which some of these pieces are good."""
        available = [batch for batch in self.values() if batch.available_qty]
        good_through = max((batch.best_before or NEVER for batch in available), default=NEVER)
        return list({batch.location for batch in available}), good_through

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
