"""Stories for the oracle of `make faults`: how their parts are made, and how they are spoilt."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from faults.journal import Answer, Entry, Kind, Via
from faults.story import Event, LineSeen, Story

Mutation = Callable[[Story], None]

_clock = count(1)


def entry(id_: str, kind: Kind, data: dict[str, Any], *answers: tuple[int | None, Any], via: Via = "http") -> Entry:
    """A command with its answers; one without a status got none."""
    made = Entry(id_, "a", via, kind, data)
    for status, body in answers:
        now = float(next(_clock))
        made.answers.append(Answer(now, now + 0.5, status, body))
    return made


def answer(command: str, *answers: tuple[int | None, Any]) -> Mutation:
    """Give the command other answers."""

    def mutate(story: Story) -> None:
        (found,) = (each for each in story.entries if each.id == command)
        found.answers = entry("", "allocate", {}, *answers).answers

    return mutate


def also(before: str, new: Entry) -> Mutation:
    """Insert a command before that one."""

    def mutate(story: Story) -> None:
        story.entries.insert([each.id for each in story.entries].index(before), new)

    return mutate


def ask(command: str, **changes: Any) -> Mutation:
    """Change the data of the command."""

    def mutate(story: Story) -> None:
        (found,) = (each for each in story.entries if each.id == command)
        found.data |= changes

    return mutate


def over_kafka(command: str) -> Mutation:
    """Make the command a message of Kafka."""

    def mutate(story: Story) -> None:
        (found,) = (each for each in story.entries if each.id == command)
        found.via = "kafka"

    return mutate


def drop(*ids: str) -> Mutation:
    """Remove events, and number the rest as if these had never been there."""

    def mutate(story: Story) -> None:
        story.events = [each for each in story.events if each.id not in ids]
        renumber(story)

    return mutate


def insert(before: str | None, new: Event) -> Mutation:
    """Insert an event before that one, or at the end, and number the events again."""

    def mutate(story: Story) -> None:
        ids = [each.id for each in story.events]
        story.events.insert(len(ids) if before is None else ids.index(before), replace(new, id="new"))
        renumber(story)

    return mutate


def change(id_: str, **changes: Any) -> Mutation:
    """Change an event."""

    def mutate(story: Story) -> None:
        story.events = [replace(each, **changes) if each.id == id_ else each for each in story.events]

    return mutate


def renumber(story: Story) -> None:
    """Give each subject's events the sequences 1, 2, 3 … by their first occurrences."""
    numbers: dict[str, dict[str, int]] = defaultdict(dict)
    for place, each in enumerate(story.events):
        if each.sequence is not None:
            known = numbers[each.subject]
            story.events[place] = replace(each, sequence=known.setdefault(each.id, len(known) + 1))


def batch(ref: str, **changes: Any) -> Mutation:
    """Change the batch of the read side."""
    return lambda story: story.batches.update({ref: replace(story.batches[ref], **changes)})


def product(sku: str, **changes: Any) -> Mutation:
    """Change the product of the read side."""
    return lambda story: story.products.update({sku: replace(story.products[sku], **changes)})


def show(line: LineSeen) -> Mutation:
    """Put this line into the read side."""
    return lambda story: story.lines.update({(line.order_id, line.sku): line})


def all_of(*mutations: Mutation) -> Mutation:
    """Apply the mutations in this order."""

    def mutate(story: Story) -> None:
        for each in mutations:
            each(story)

    return mutate
