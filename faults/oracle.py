"""The oracle checks that everything acknowledged took effect exactly once, and that all records agree.

Pure functions of a story, tested with wrong stories (`tests/unit/test_fault_oracle.py`). Each yields complaints.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from faults.effects import check_effects
from faults.event_order import check_order, check_orders, check_partitions, check_repeats
from faults.expected import Expected
from faults.journal import Kind
from faults.replay import Replay
from faults.rule import ANYTHING, can_hold, wants_of
from faults.story import (
    BatchSeen,
    Event,
    LineSeen,
    Story,
    by_cause,
    first_occurrences,
    in_sequence,
    time_of,
)

# Events that only some kinds of command can cause; a reason belongs to its event. Those of moving lines can have any
# cause.
CAUSED_BY: dict[str, set[Kind]] = {
    "batch_created.v1": {"create_batch", "count_product"},
    "batch_quantity_changed.v1": {"change_batch", "count_product"},
    "batch_eta_changed.v1": {"change_batch"},
    "batch_changed.v1": {"change_batch"},
    "line_shipped.v1": {"ship"},
    "order_placed.v1": {"place_order", "check_out"},
    "order_refused.v1": {"place_order", "check_out"},
    "cart_checked_out.v1": {"check_out"},
    "order_cancelled.v1": {"cancel_order"},
    "line_held.v1": {"allocate", "place_order", "hold_order", "check_out", "change_batch", "count_product"},
    "hold_released.v1 cancelled": {"cancel", "cancel_order"},
    "hold_released.v1 replaced": {"hold_order"},
    "hold_released.v1 batch_quantity_changed": {"change_batch", "count_product"},
    "hold_released.v1 batch_blocked": {"change_batch"},
    "hold_released.v1 expired": set(),
}
EXPIRY = "expiry-"
"""Holds end without a command. Their events have a cause with this prefix."""

OF_EXPIRY = {"hold_released.v1 expired", "line_allocated.v1", "back_in_stock.v1", "low_stock.v1"}
"""The end of a hold serves the queue."""

SWEEP_SECONDS = 2.0
"""After this time a hold that has ended may not be there any more; guaranteed is one second."""


@dataclass(frozen=True)
class Judgement:
    """Complaints; and responses that are valid only because of reruns, see docs/architecture.md."""

    complaints: list[str]
    reruns: list[str]


def judge(story: Story, *, lost: bool = False) -> Judgement:
    """All violations in the story.

    `lost`: the database has lost commits, so answers and earlier events need not agree with the read side.
    """
    first = first_occurrences(story.events)
    if story.moved:
        first = in_sequence(first)
    complaints: list[str] = []
    checks: list[Callable[[Story, list[Event]], Iterator[str]]] = [
        check_settled,
        check_order,
        check_partitions,
        check_orders,
        check_repeats,
        check_causes,
        check_inbound,
        check_outbox,
        check_lines,
        check_whole,
        check_sums,
        check_replay,
    ]
    for check in checks:
        if not (lost and check in {check_orders, check_replay}):
            complaints += check(story, first)
    if lost:
        return Judgement(complaints, [])
    expected = check_effects(story.entries, by_cause(first))
    complaints += expected.faults
    complaints += check_expected(story, expected)
    return Judgement(complaints, expected.reruns)


def check_settled(story: Story, _: list[Event]) -> Iterator[str]:
    """Each client has a definite response in the end."""
    for entry in story.entries:
        if entry.final is None:
            yield f"answers: {entry} never had a definite answer, after {len(entry.answers)} attempts"


def check_causes(story: Story, first: list[Event]) -> Iterator[str]:
    """Every event was caused by a sent command of a suitable kind, or by the end of a hold."""
    known = {entry.id: entry for entry in story.entries}
    for event in first:
        name = f"causes: {event.type} of {event.subject} {event.sequence} was caused by"
        kind = f"{event.type} {event.data['reason']}" if event.type == "hold_released.v1" else event.type
        entry = known.get(event.cause)
        if event.cause.startswith(EXPIRY):
            if kind not in OF_EXPIRY:
                yield f"{name} the end of a hold"
        elif entry is None:
            yield f"{name} {event.cause!r}, which none sent"
        elif entry.kind not in CAUSED_BY.get(kind, {entry.kind}):
            yield f"{name} {entry}"


def check_inbound(story: Story, _: list[Event]) -> Iterator[str]:
    """Each published inbound message was handled or became a dead letter, once; acknowledged ones are in the topic."""
    published = set(story.inbound)
    done = Counter([*story.inbox, *story.dead])
    for entry in story.entries:
        if entry.via == "kafka" and entry.final is not None and entry.id not in published:
            yield f"inbound: {entry} was acknowledged and is not in the topic"
    for ce_id in sorted(published - set(done)):
        yield f"inbound: {ce_id} was published and neither processed nor set aside"
    for ce_id in sorted(set(done) - published):
        yield f"inbound: {ce_id} was processed and never published"
    for ce_id, times in sorted(done.items()):
        if times > 1:
            yield f"inbound: {ce_id} was processed or set aside {times} times"


def check_outbox(story: Story, _: list[Event]) -> Iterator[str]:
    """The outbox is empty."""
    if story.outbox:
        yield f"outbox: {story.outbox} events were not published in time"


def check_lines(story: Story, _: list[Event]) -> Iterator[str]:
    """Each line is on a batch of its SKU, or backordered because no batch can hold it; no hold is over."""
    room: dict[str, list[BatchSeen]] = defaultdict(list)
    for batch in story.batches.values():
        room[batch.sku].append(batch)
    wants = wants_of(story.entries)
    for line in story.lines.values():
        name = f"read side: {line.order_id} of {line.sku}"
        if (line.status != "backordered") != (line.batch_ref is not None):
            yield f"{name} is {line.status} with the batch {line.batch_ref}"
        if (line.status == "held") != (line.held_until is not None):
            yield f"{name} is {line.status} until {line.held_until}"
        if line.held_until is not None and 0 < time_of(line.held_until) + SWEEP_SECONDS < story.now:
            yield f"{name} is held, and its hold was over {story.now - time_of(line.held_until):.1f} s before"
        if line.batch_ref is None:
            wanted = wants.get((line.order_id, line.sku), ANYTHING)
            for batch in (each for each in room[line.sku] if can_hold(each, line.qty, wanted)):
                yield f"{name} waits for {line.qty}, and a batch has {batch.available_qty}"
            continue
        holder = story.batches.get(line.batch_ref)
        if holder is None or holder.sku != line.sku:
            yield f"{name} is with {line.batch_ref}, which is not a batch of that SKU"
        elif holder.eta != line.eta:
            yield f"{name} says that it comes {line.eta}, its batch {holder.eta}"


def check_whole(story: Story, _: list[Event]) -> Iterator[str]:
    """An order is complete if none of its lines is backordered or held.

    Its earliest ETA is that of its last batch, if none is backordered.
    """
    lines: dict[str, list[LineSeen]] = defaultdict(list)
    for line in story.lines.values():
        lines[line.order_id].append(line)
    for order in story.orders.values():
        own = lines[order.order_id]
        complete = all(line.status in {"allocated", "shipped"} for line in own)
        is_dated = all(line.status != "backordered" for line in own)
        etas = [line.eta for line in own if line.eta is not None and line.status != "shipped"]
        if (order.complete, order.earliest_eta) != (complete, max(etas, default=None) if is_dated else None):
            yield f"read side: {order} does not follow from {own}"


def check_sums(story: Story, _: list[Event]) -> Iterator[str]:
    """Purchased = available + allocated + shipped for every batch, and the sums of batches and products are correct."""
    allocated: Counter[str] = Counter()
    held: Counter[str] = Counter()
    shipped: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for line in story.lines.values():
        if line.batch_ref is None:
            waiting[line.sku] += line.qty
        elif line.status == "shipped":
            shipped[line.batch_ref] += line.qty
        else:
            allocated[line.batch_ref] += line.qty
            held[line.batch_ref] += line.qty if line.status == "held" else 0
    for batch in story.batches.values():
        free = batch.qty - batch.allocated_qty - batch.shipped_qty
        if free < 0 or batch.available_qty != (0 if batch.blocked else free):
            yield f"read side: {batch} does not add up"
        for what, qty, lines in (
            ("allocated", batch.allocated_qty, allocated),
            ("shipped", batch.shipped_qty, shipped),
            ("held", batch.held_qty, held),
        ):
            if qty != lines[batch.ref]:
                yield f"read side: {batch.ref} has {qty} {what}, its lines {lines[batch.ref]}"
    names = attrgetter("available_qty", "allocated_qty", "shipped_qty", "held_qty")
    for product in story.products.values():
        own = [names(batch) for batch in story.batches.values() if batch.sku == product.sku]
        sums = (*map(sum, zip((0, 0, 0, 0), *own, strict=True)), waiting[product.sku])
        if sums != (*names(product), product.backordered_qty):
            yield f"read side: {product} is not {sums} (available, allocated, shipped, held, backordered)"


def check_replay(story: Story, first: list[Event]) -> Iterator[str]:
    """The replayed events give the state of the read side."""
    replay = Replay.of(first, wants_of(story.entries))
    yield from replay.faults
    terms = ("location", "best_before", "blocked")
    values = attrgetter("sku", "qty", "eta", "allocated_qty", "shipped_qty", "held_qty", *terms)
    replayed = {batch.ref: values(batch) for batch in replay.batches.values()}
    seen = {batch.ref: values(batch) for batch in story.batches.values()}
    for ref in sorted(replayed.keys() | seen.keys()):
        if replayed.get(ref) != seen.get(ref):
            yield f"replay: batch {ref} is {replayed.get(ref)} by the events and {seen.get(ref)} by the read side"
    line_values = attrgetter("qty", "batch_ref", "shipped", "held_until")
    replayed_lines = {key: line_values(line) for key, line in replay.lines.items()}
    seen_lines = {
        key: (line.qty, line.batch_ref, line.status == "shipped", line.held_until and time_of(line.held_until))
        for key, line in story.lines.items()
    }
    for key in sorted(replayed_lines.keys() | seen_lines.keys()):
        if replayed_lines.get(key) != seen_lines.get(key):
            events, read = replayed_lines.get(key), seen_lines.get(key)
            yield f"replay: line {key} is {events} by the events, {read} by the read side"


def check_expected(story: Story, expected: Expected) -> Iterator[str]:
    """What is left at the end is what the clients expect."""
    yield from _check_last_lines(story, expected)
    for ref, values in expected.batches.items():
        batch = story.batches.get(ref)
        if (batch and (batch.qty, batch.eta)) != values:
            yield f"end: batch {ref} is {batch}, and its client believes {values}"
        terms = expected.terms[ref]
        if batch and {name: getattr(batch, name) for name in terms} != terms:
            yield f"end: batch {ref} is {batch}, and its client believes {terms}"
    for cart_id, cart in expected.carts.items():
        if story.carts.get(cart_id) != cart.seen(cart_id):
            yield f"end: the cart {story.carts.get(cart_id)} is not {cart.seen(cart_id)}"
    for sku, point in expected.reorder_points.items():
        product = story.products.get(sku)
        if product is not None and product.reorder_point != point:
            yield f"end: {product} has another reorder point than {point}"


def _check_last_lines(story: Story, expected: Expected) -> Iterator[str]:
    for key, qty in expected.lines.items():
        line = story.lines.get(key)
        if (line.qty if line else None) != qty:
            yield f"end: line {key} is {line}, and its client believes {qty or 'it gone'}"
        is_shipped = key in expected.shipped
        if line is not None and (line.status == "shipped") != is_shipped:
            yield f"end: line {key} is {line.status}, and for its client shipped={is_shipped}"
        if line is not None and (line.status == "held") != (key in expected.held):
            yield f"end: line {key} is {line.status}, and for its client held={key in expected.held}"
    for key in story.lines.keys() - expected.lines.keys():
        if f"order {key[0]}" not in expected.unclear:
            yield f"end: line {key} is there, and no client ever asked for it"
