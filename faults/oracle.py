"""The oracle: whether everything that was acknowledged took effect exactly once, and whether all accounts agree.

Pure functions of a story, so that they can be tested with stories that are wrong (`tests/unit/test_fault_oracle.py`).
Each returns its complaints, a line for each.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from faults.effects import Expected, check_effects
from faults.replay import Replay
from faults.story import Event, Story, by_cause, first_occurrences


@dataclass(frozen=True)
class Judgement:
    """What is wrong, a line for each; and answers that are right only by what docs/architecture.md says of reruns."""

    complaints: list[str]
    reruns: list[str]


def judge(story: Story) -> Judgement:
    """Everything that is wrong with the story; nothing where every promise was kept."""
    first = first_occurrences(story.events)
    complaints: list[str] = []
    checks: list[Callable[[Story, list[Event]], Iterator[str]]] = [
        check_settled,
        check_order,
        check_repeats,
        check_causes,
        check_inbound,
        check_outbox,
        check_lines,
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
    """A client that asks long enough gets its answer."""
    for entry in story.entries:
        if entry.final is None:
            yield f"answers: {entry} never had a definite answer, after {len(entry.answers)} attempts"


def check_order(_: Story, first: list[Event]) -> Iterator[str]:
    """First occurrences of each SKU's events have the sequences 1, 2, 3 … and lie in one partition."""
    streams: dict[str, list[Event]] = defaultdict(list)
    for event in first:
        if event.sequence is not None:
            streams[event.sku].append(event)
        elif event.type != "allocation_failed.v1":
            yield f"order: {event.type} of {event.sku} bears no sequence"
    for sku, stream in streams.items():
        sequences = [0, *(event.sequence or 0 for event in stream)]
        for before, after in pairwise(sequences):
            if after != before + 1:
                yield f"order: {sku} has {after} after {before}"
        if len({event.partition for event in stream}) > 1:
            yield f"order: the events of {sku} lie in several partitions"


def check_repeats(story: Story, first: list[Event]) -> Iterator[str]:
    """An event that comes again is the same event."""
    known = {event.id: event for event in first}
    for event in story.events:
        if event != known[event.id]:
            yield f"repeats: {event.id} came as {known[event.id]} and again as {event}"


def check_causes(story: Story, first: list[Event]) -> Iterator[str]:
    """Every event was caused by a command that was sent."""
    known = {entry.id for entry in story.entries}
    for event in first:
        if event.cause not in known:
            yield f"causes: {event.type} of {event.sku} {event.sequence} was caused by {event.cause!r}, which none sent"


def check_inbound(story: Story, _: list[Event]) -> Iterator[str]:
    """What was published inbound was processed or set aside, each once; what the broker acknowledged is published."""
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
    """Nothing is left to publish."""
    if story.outbox:
        yield f"outbox: {story.outbox} events were not published in time"


def check_lines(story: Story, _: list[Event]) -> Iterator[str]:
    """Each line is with a batch of its SKU, or waits because no batch could hold it."""
    room: dict[str, int] = defaultdict(int)
    for batch in story.batches.values():
        room[batch.sku] = max(room[batch.sku], batch.available_qty)
    for line in story.lines.values():
        name = f"read side: {line.order_id} of {line.sku}"
        if (line.status == "allocated") != (line.batch_ref is not None):
            yield f"{name} is {line.status} with the batch {line.batch_ref}"
        if line.batch_ref is None:
            if line.qty <= room[line.sku]:
                yield f"{name} waits for {line.qty}, and a batch has {room[line.sku]}"
            continue
        holder = story.batches.get(line.batch_ref)
        if holder is None or holder.sku != line.sku:
            yield f"{name} is with {line.batch_ref}, which is no batch of that SKU"
        elif holder.eta != line.eta:
            yield f"{name} says that it comes {line.eta}, its batch {holder.eta}"


def check_sums(story: Story, _: list[Event]) -> Iterator[str]:
    """Available = purchased - allocated >= 0 for every batch, and the sums of batches and products are sums."""
    held: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for line in story.lines.values():
        if line.batch_ref is None:
            waiting[line.sku] += line.qty
        else:
            held[line.batch_ref] += line.qty
    for batch in story.batches.values():
        if batch.available_qty != batch.qty - batch.allocated_qty - batch.shipped_qty or batch.available_qty < 0:
            yield f"read side: {batch} does not add up"
        if batch.allocated_qty != held[batch.ref]:
            yield f"read side: {batch.ref} has {batch.allocated_qty} allocated, its lines {held[batch.ref]}"
    for product in story.products.values():
        own = [batch for batch in story.batches.values() if batch.sku == product.sku]
        sums = (sum(each.available_qty for each in own), sum(each.allocated_qty for each in own), waiting[product.sku])
        if sums != (product.available_qty, product.allocated_qty, product.backordered_qty):
            yield f"read side: {product} is not {sums} (available, allocated, backordered)"


def check_replay(story: Story, first: list[Event]) -> Iterator[str]:
    """The events replayed give the state that the read side shows."""
    replay = Replay.of(first)
    yield from replay.faults
    told = {batch.ref: (batch.sku, batch.qty, batch.eta, batch.allocated_qty) for batch in replay.batches.values()}
    seen = {batch.ref: (batch.sku, batch.qty, batch.eta, batch.allocated_qty) for batch in story.batches.values()}
    for ref in sorted(told.keys() | seen.keys()):
        if told.get(ref) != seen.get(ref):
            yield f"replay: batch {ref} is {told.get(ref)} by the events and {seen.get(ref)} by the read side"
    told_lines = {key: (line.qty, line.batch_ref) for key, line in replay.lines.items()}
    seen_lines = {key: (line.qty, line.batch_ref) for key, line in story.lines.items()}
    for key in sorted(told_lines.keys() | seen_lines.keys()):
        if told_lines.get(key) != seen_lines.get(key):
            yield f"replay: line {key} is {told_lines.get(key)} by the events, {seen_lines.get(key)} by the read side"


def check_expected(story: Story, expected: Expected) -> Iterator[str]:
    """The lines and batches at the end are those that the clients were told of."""
    for key, qty in expected.lines.items():
        line = story.lines.get(key)
        if (line.qty if line else None) != qty:
            yield f"end: line {key} is {line}, and its client believes {qty or 'it gone'}"
    for key in story.lines.keys() - expected.lines.keys() - expected.unclear:
        yield f"end: line {key} is there, and no client ever asked for it"
    for ref, values in expected.batches.items():
        batch = story.batches.get(ref)
        if (batch and (batch.qty, batch.eta)) != values:
            yield f"end: batch {ref} is {batch}, and its client believes {values}"
