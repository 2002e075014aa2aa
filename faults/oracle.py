"""The oracle checks that everything acknowledged took effect exactly once, and that all records agree.

Pure functions of a story, tested with wrong stories (`tests/unit/test_fault_oracle.py`). Each yields complaints.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

from faults.effects import check_effects
from faults.expected import Expected
from faults.journal import Kind
from faults.replay import Replay
from faults.story import ORDER_EVENTS, Event, LineSeen, Story, by_cause, first_occurrences

# Events that only one kind of command can cause. Events of moving lines can have any cause.
CAUSED_BY: dict[str, Kind] = {
    "batch_created.v1": "create_batch",
    "batch_quantity_changed.v1": "change_batch",
    "batch_eta_changed.v1": "change_batch",
    "line_shipped.v1": "ship",
    "order_placed.v1": "place_order",
    "order_refused.v1": "place_order",
    "order_cancelled.v1": "cancel_order",
}


@dataclass(frozen=True)
class Judgement:
    """Complaints; and responses that are valid only because of reruns, see docs/architecture.md."""

    complaints: list[str]
    reruns: list[str]


def judge(story: Story) -> Judgement:
    """All violations in the story."""
    first = first_occurrences(story.events)
    complaints: list[str] = []
    checks: list[Callable[[Story, list[Event]], Iterator[str]]] = [
        check_settled,
        check_order,
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
        complaints += check(story, first)
    expected = check_effects(story.entries, by_cause(first))
    complaints += expected.faults
    complaints += check_expected(story, expected)
    return Judgement(complaints, expected.reruns)


def check_settled(story: Story, _: list[Event]) -> Iterator[str]:
    """Each client has a definite response in the end."""
    for entry in story.entries:
        if entry.final is None:
            yield f"answers: {entry} never had a definite answer, after {len(entry.answers)} attempts"


def check_order(_: Story, first: list[Event]) -> Iterator[str]:
    """First occurrences of each SKU's events have the sequences 1, 2, 3 …; each subject is in one partition."""
    streams: dict[str, list[Event]] = defaultdict(list)
    partitions: dict[str, set[int]] = defaultdict(set)
    for event in first:
        if (event.sequence is None) != (event.type in ORDER_EVENTS) and event.type != "allocation_failed.v1":
            yield f"order: {event.type} of {event.subject} bears the sequence {event.sequence}"
        elif event.sequence is not None:
            streams[event.subject].append(event)
        partitions[event.subject].add(event.partition)
    for sku, stream in streams.items():
        sequences = [0, *(event.sequence or 0 for event in stream)]
        for before, after in pairwise(sequences):
            if after != before + 1:
                yield f"order: {sku} has {after} after {before}"
    for subject, numbers in partitions.items():
        if len(numbers) > 1:
            yield f"order: the events of {subject} lie in several partitions"


def check_orders(story: Story, first: list[Event]) -> Iterator[str]:
    """The events of an order as a whole are in the order of its client's commands."""
    asked = {entry.id: number for number, entry in enumerate(story.entries)}
    streams: dict[str, list[Event]] = defaultdict(list)
    for event in first:
        if event.type in ORDER_EVENTS and event.cause in asked:
            streams[event.subject].append(event)
    for order_id, stream in streams.items():
        numbers = [asked[event.cause] for event in stream]
        if numbers != sorted(numbers):
            listed = ", ".join(f"{event.type} by {event.cause}" for event in stream)
            yield f"order: {order_id} has {listed}, which was asked for in another order"


def check_repeats(story: Story, first: list[Event]) -> Iterator[str]:
    """A repeated event is identical."""
    known = {event.id: event for event in first}
    for event in story.events:
        if event != known[event.id]:
            yield f"repeats: {event.id} came as {known[event.id]} and again as {event}"


def check_causes(story: Story, first: list[Event]) -> Iterator[str]:
    """Every event was caused by a sent command of a suitable kind."""
    known = {entry.id: entry for entry in story.entries}
    for event in first:
        name = f"causes: {event.type} of {event.subject} {event.sequence} was caused by"
        entry = known.get(event.cause)
        if entry is None:
            yield f"{name} {event.cause!r}, which none sent"
        elif CAUSED_BY.get(event.type, entry.kind) != entry.kind:
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
    """Each line is on a batch of its SKU, or backordered because no batch can hold it."""
    room: dict[str, int] = defaultdict(int)
    for batch in story.batches.values():
        room[batch.sku] = max(room[batch.sku], batch.available_qty)
    for line in story.lines.values():
        name = f"read side: {line.order_id} of {line.sku}"
        if (line.status in {"allocated", "shipped"}) != (line.batch_ref is not None):
            yield f"{name} is {line.status} with the batch {line.batch_ref}"
        if line.batch_ref is None:
            if line.qty <= room[line.sku]:
                yield f"{name} waits for {line.qty}, and a batch has {room[line.sku]}"
            continue
        holder = story.batches.get(line.batch_ref)
        if holder is None or holder.sku != line.sku:
            yield f"{name} is with {line.batch_ref}, which is not a batch of that SKU"
        elif holder.eta != line.eta:
            yield f"{name} says that it comes {line.eta}, its batch {holder.eta}"


def check_whole(story: Story, _: list[Event]) -> Iterator[str]:
    """An order is complete if none of its lines is backordered; then its last batch has its earliest ETA."""
    lines: dict[str, list[LineSeen]] = defaultdict(list)
    for line in story.lines.values():
        lines[line.order_id].append(line)
    for order in story.orders.values():
        own = lines[order.order_id]
        complete = all(line.status != "backordered" for line in own)
        etas = [line.eta for line in own if line.eta is not None and line.status != "shipped"]
        if (order.complete, order.earliest_eta) != (complete, max(etas, default=None) if complete else None):
            yield f"read side: {order} does not follow from {own}"


def check_sums(story: Story, _: list[Event]) -> Iterator[str]:
    """Purchased = available + allocated + shipped for every batch, and the sums of batches and products are correct."""
    held: Counter[str] = Counter()
    shipped: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for line in story.lines.values():
        if line.batch_ref is None:
            waiting[line.sku] += line.qty
        elif line.status == "shipped":
            shipped[line.batch_ref] += line.qty
        else:
            held[line.batch_ref] += line.qty
    for batch in story.batches.values():
        if batch.available_qty != batch.qty - batch.allocated_qty - batch.shipped_qty or batch.available_qty < 0:
            yield f"read side: {batch} does not add up"
        if batch.allocated_qty != held[batch.ref]:
            yield f"read side: {batch.ref} has {batch.allocated_qty} allocated, its lines {held[batch.ref]}"
        if batch.shipped_qty != shipped[batch.ref]:
            yield f"read side: {batch.ref} has {batch.shipped_qty} shipped, its lines {shipped[batch.ref]}"
    for product in story.products.values():
        own = [batch for batch in story.batches.values() if batch.sku == product.sku]
        sums = (
            sum(each.available_qty for each in own),
            sum(each.allocated_qty for each in own),
            sum(each.shipped_qty for each in own),
            waiting[product.sku],
        )
        if sums != (product.available_qty, product.allocated_qty, product.shipped_qty, product.backordered_qty):
            yield f"read side: {product} is not {sums} (available, allocated, shipped, backordered)"


def check_replay(story: Story, first: list[Event]) -> Iterator[str]:
    """The replayed events give the state of the read side."""
    replay = Replay.of(first)
    yield from replay.faults
    values = attrgetter("sku", "qty", "eta", "allocated_qty", "shipped_qty")
    replayed = {batch.ref: values(batch) for batch in replay.batches.values()}
    seen = {batch.ref: values(batch) for batch in story.batches.values()}
    for ref in sorted(replayed.keys() | seen.keys()):
        if replayed.get(ref) != seen.get(ref):
            yield f"replay: batch {ref} is {replayed.get(ref)} by the events and {seen.get(ref)} by the read side"
    replayed_lines = {key: (line.qty, line.batch_ref, line.shipped) for key, line in replay.lines.items()}
    seen_lines = {key: (line.qty, line.batch_ref, line.status == "shipped") for key, line in story.lines.items()}
    for key in sorted(replayed_lines.keys() | seen_lines.keys()):
        if replayed_lines.get(key) != seen_lines.get(key):
            events, read = replayed_lines.get(key), seen_lines.get(key)
            yield f"replay: line {key} is {events} by the events, {read} by the read side"


def check_expected(story: Story, expected: Expected) -> Iterator[str]:
    """The final lines and batches are those that the clients expect."""
    for key, qty in expected.lines.items():
        line = story.lines.get(key)
        if (line.qty if line else None) != qty:
            yield f"end: line {key} is {line}, and its client believes {qty or 'it gone'}"
        is_shipped = key in expected.shipped
        if line is not None and (line.status == "shipped") != is_shipped:
            yield f"end: line {key} is {line.status}, and for its client shipped={is_shipped}"
    for key in story.lines.keys() - expected.lines.keys():
        if f"order {key[0]}" not in expected.unclear:
            yield f"end: line {key} is there, and no client ever asked for it"
    for ref, values in expected.batches.items():
        batch = story.batches.get(ref)
        if (batch and (batch.qty, batch.eta)) != values:
            yield f"end: batch {ref} is {batch}, and its client believes {values}"
