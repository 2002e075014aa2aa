"""Checks of the oracle: the events are in order, and a repeated event is identical."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from faults.story import ORDER_EVENTS, Event, Story


def check_order(_: Story, first: list[Event]) -> Iterator[str]:
    """First occurrences of each SKU's events have the sequences 1, 2, 3 …."""
    streams: dict[str, list[Event]] = defaultdict(list)
    for event in first:
        if (event.sequence is None) != (event.type in ORDER_EVENTS) and event.type != "allocation_failed.v1":
            yield f"order: {event.type} of {event.subject} bears the sequence {event.sequence}"
        elif event.sequence is not None:
            streams[event.subject].append(event)
    for sku, stream in streams.items():
        sequences = [0, *(event.sequence or 0 for event in stream)]
        for before, after in pairwise(sequences):
            if after != before + 1:
                yield f"order: {sku} has {after} after {before}"


def check_partitions(story: Story, _: list[Event]) -> Iterator[str]:
    """Each subject is in one partition. If subjects have moved, each partition has a part of its SKU without a gap."""
    partitions: dict[str, dict[int, dict[int, None]]] = defaultdict(lambda: defaultdict(dict))
    for event in story.events:
        part = partitions[event.subject][event.partition]
        if event.sequence is not None:
            part.setdefault(event.sequence)
    for subject, parts in partitions.items():
        if len(parts) > 1 and not story.moved:
            yield f"order: the events of {subject} lie in several partitions"
        for number, sequences in parts.items():
            for before, after in pairwise(sequences):
                if after != before + 1:
                    yield f"order: {subject} has {after} after {before} in partition {number}"


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
