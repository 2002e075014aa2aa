"""Gives stock of lines with a low priority to waiting lines with a higher one."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from operator import attrgetter

from app.domain.product import Product
from app.domain.relocation import Move
from app.domain.stock import Allocation, Batch, in_queue_order


@dataclass(slots=True)
class Redistribution:
    """The waiting lines that get stock, and the lines that had it and moved."""

    served: list[Allocation] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)


def redistribute(product: Product, below: int) -> Redistribution:
    """Serve waiting lines of the priority `below` or a higher one, in the order of the queue.

    Each gets the preferred batch that can hold it once lines of a lower priority have left it: of these the ones that
    were allocated last, and none that is not needed. Lines that left are placed on other batches where one can hold
    them, or wait in the queue at the place of their request; holds end there instead. The lines must be in memory.
    """
    lines = [each for each in product.allocations.values() if each.shipped_sequence is None]
    held: defaultdict[Batch, list[Allocation]] = defaultdict(list)
    held_qty: Counter[Batch] = Counter()
    for allocation in sorted(lines, key=lambda each: each.allocated_sequence or 0):
        if allocation.batch is not None and allocation.line.requirements.priority < below:
            held[allocation.batch].append(allocation)
            held_qty[allocation.batch] += allocation.line.qty
    targets: dict[Allocation, Batch] = {}
    released: list[Allocation] = []
    waiting = (each for each in lines if each.batch is None and each.line.requirements.priority >= below)
    for allocation in in_queue_order(waiting):
        line = allocation.line
        for batch in product.batches.by_preference(line.requirements.locations):
            missing = line.qty - batch.available_qty
            if not batch.is_fit or not batch.meets(line.requirements) or held_qty[batch] < missing:
                continue
            for each in _taken(held[batch], missing):
                held_qty[batch] -= each.line.qty
                batch.release(each.line, is_held=each.is_held)
                released.append(each)
            batch.take(line)
            targets[allocation] = batch
            break
    return _moved(product, targets, released)


def _taken(held: list[Allocation], missing: int) -> list[Allocation]:
    """Remove lines that make up the missing pieces, the one allocated last first, and return them."""
    last: list[Allocation] = []
    surplus = -missing
    while surplus < 0:
        last.append(held.pop())
        surplus += last[-1].line.qty
    # A line that was removed before a larger one may not be needed.
    taken, kept = [], []
    for allocation in last:
        if allocation.line.qty <= surplus:
            surplus -= allocation.line.qty
            kept.append(allocation)
        else:
            taken.append(allocation)
    held.extend(reversed(kept))
    return taken


def _moved(product: Product, targets: dict[Allocation, Batch], released: list[Allocation]) -> Redistribution:
    others = {each: product.reserve(each.line, is_held=each.is_held) for each in in_queue_order(released)}
    moving = [each for each in released if others[each] is not each.batch]
    for allocation in sorted(moving, key=attrgetter("allocated_sequence"), reverse=True):
        product.leave(allocation, "redistributed")
    for allocation, batch in targets.items():
        product.backordered_qty -= allocation.line.qty
        product.place(allocation, batch)
    found = Redistribution(list(targets))
    for allocation in in_queue_order(moving):
        origin, target = allocation.batch, others[allocation]
        if origin is not None and (target is not None or not allocation.is_held):
            found.moves.append(Move(allocation.line, origin, target, allocation.requested_sequence))
        product.place(allocation, target, "redistributed")
    return found
