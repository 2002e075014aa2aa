"""Moves order lines from one batch to other batches or to the queue.

A batch may hold 100,000 lines, so the work is done in steps of bounded length, between which the caller may store the
product.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from app.domain.batches import Batches
from app.domain.events import ReleaseReason
from app.domain.placement import Placement
from app.domain.stock import Allocation, Batch, OrderLine, in_queue_order

STEP = 100
"""Lines of one step. Between the steps of a long relocation other tasks have a turn."""

LIGHT_STEP = 1000
"""Lines of a step that only changes sums in memory."""


@dataclass(frozen=True, slots=True)
class Move:
    """A line that left a batch, and the batch that it moved to; None: to the queue.

    `requested_sequence` is the place of the line in the queue.
    """

    line: OrderLine
    from_batch: Batch
    to_batch: Batch | None
    requested_sequence: int


@dataclass(slots=True)
class Relocation:
    """The lines that move. The caller must iterate over `steps` to the end, or call `run`.

    Each step yields the keys of the lines that it placed; None: the product must not be stored yet. `moves` is
    complete after the last step: the lines that moved, oldest request first.
    """

    moves: list[Move] = field(default_factory=list)
    steps: Iterable[Sequence[str] | None] = ()
    is_long: bool = False

    @classmethod
    def of_released(
        cls,
        product: Placement,
        released: Sequence[Allocation],
        reason: ReleaseReason,
        along: Batch | None = None,
    ) -> "Relocation":
        """Release the lines, find a batch for each, oldest request first, and move it there.

        A line that returns to its own batch has not moved. It goes to the batch `along` if no other serves it earlier.
        """
        relocation = cls(is_long=len(released) > STEP)
        relocation.steps = relocation._find_and_move(product, released, reason, along)
        return relocation

    @classmethod
    def to_targets(cls, product: Placement, targets: Mapping[Allocation, Batch], reason: ReleaseReason) -> "Relocation":
        """Move each line to the batch that reserved stock for it."""
        relocation = cls(is_long=len(targets) > STEP)
        relocation.steps = relocation._move(product, list(targets), targets, reason)
        return relocation

    def run(self) -> list[Move]:
        """Take all steps at once. Returns `moves`."""
        for _ in self.steps:
            pass
        return self.moves

    def _find_and_move(
        self, product: Placement, released: Sequence[Allocation], reason: ReleaseReason, along: Batch | None
    ) -> Iterator[Sequence[str] | None]:
        for page in _pages(released, LIGHT_STEP):
            for allocation in page:
                if allocation.batch is not None:
                    allocation.batch.release(allocation.line, is_held=allocation.is_held)
            yield None
        targets: dict[Allocation, Batch | None] = {}
        for page in _pages(in_queue_order(released)):
            for allocation in page:
                targets[allocation] = product.reserve(allocation.line, is_held=allocation.is_held, along=along)
            yield None
        yield from self._move(product, released, targets, reason)

    def _move(
        self,
        product: Placement,
        released: Sequence[Allocation],
        targets: Mapping[Allocation, Batch | None],
        reason: ReleaseReason,
    ) -> Iterator[Sequence[str]]:
        """Lines leave their batch in the order of `released` and are placed in the order of `targets`."""
        leaving = {allocation for allocation, target in targets.items() if target is not allocation.batch}
        for page in _pages(released):
            for allocation in page:
                if allocation in leaving:
                    product.leave(allocation, reason)
            yield ()
        for page in _pages(list(targets)):
            for allocation in page:
                if allocation in leaving and allocation.batch is not None:
                    target = targets[allocation]
                    # A hold that no batch can keep ends, so it has not moved.
                    if target is not None or not allocation.is_held:
                        move = Move(allocation.line, allocation.batch, target, allocation.requested_sequence)
                        self.moves.append(move)
                    product.place(allocation, target, reason)
            yield [allocation.line.key for allocation in page]


def reserve_sooner(batches: Batches, late: Batch, held: Iterable[Allocation]) -> dict[Allocation, Batch]:
    """Reserve stock for lines of a late batch on batches that are preferred to it. `Relocation.to_targets` moves them.

    The lines come oldest request first.
    """
    targets: dict[Allocation, Batch] = {}
    for allocation in held:
        for other in batches.before(late, allocation.line.requirements):
            if other.available_qty >= allocation.line.qty:
                late.release(allocation.line, is_held=allocation.is_held)
                other.take(allocation.line, is_held=allocation.is_held)
                targets[allocation] = other
                break
    return targets


def last_allocated(allocations: Iterable[Allocation], batch: Batch, qty: int) -> Iterator[Allocation]:
    """The lines of the batch to release first, as many as make up `qty` pieces: holds, then lines, the last one first.

    Raises LookupError where too few of its lines are in memory.
    """
    if qty <= 0:
        return
    lines = [each for each in allocations if each.batch is batch and each.shipped_sequence is None]
    holds = [each for each in lines if each.held_until is not None]
    firm = [each for each in lines if each.held_until is None]
    # Two sorts by an attribute: one by a pair with `is_held` takes three times as long for 100,000 lines.
    for kind in (holds, firm):
        for allocation in sorted(kind, key=attrgetter("allocated_sequence"), reverse=True):
            yield allocation
            qty -= allocation.line.qty
            if qty <= 0:
                return
    message = f"{qty} allocated pieces of batch {batch.ref} are not in memory; fetch its lines first"
    raise LookupError(message)


def _pages(allocations: Sequence[Allocation], step: int = STEP) -> Iterator[Sequence[Allocation]]:
    return (allocations[start : start + step] for start in range(0, len(allocations), step))
