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
    """Have the command been answered otherwise."""

    def mutate(told: Story) -> None:
        (found,) = (each for each in told.entries if each.id == command)
        found.answers = entry("", "allocate", {}, *answers).answers

    return mutate


def also(before: str, new: Entry) -> Mutation:
    """Have one command more been sent before that one."""

    def mutate(told: Story) -> None:
        told.entries.insert([each.id for each in told.entries].index(before), new)

    return mutate


def ask(command: str, **changes: Any) -> Mutation:
    """Have something else been asked for."""

    def mutate(told: Story) -> None:
        (found,) = (each for each in told.entries if each.id == command)
        found.data |= changes

    return mutate


def over_kafka(command: str) -> Mutation:
    """Have the command been a message."""

    def mutate(told: Story) -> None:
        (found,) = (each for each in told.entries if each.id == command)
        found.via = "kafka"

    return mutate


def drop(*ids: str) -> Mutation:
    """Lose events, and have the sequences run on as if they had never been."""

    def mutate(told: Story) -> None:
        told.events = [each for each in told.events if each.id not in ids]
        renumber(told)

    return mutate


def insert(before: str | None, new: Event) -> Mutation:
    """Tell one event more before that one, or at the end, and have the sequences run on over it."""

    def mutate(told: Story) -> None:
        ids = [each.id for each in told.events]
        told.events.insert(len(ids) if before is None else ids.index(before), replace(new, id="new"))
        renumber(told)

    return mutate


def change(id_: str, **changes: Any) -> Mutation:
    """Have an event tell something else."""

    def mutate(told: Story) -> None:
        told.events = [replace(each, **changes) if each.id == id_ else each for each in told.events]

    return mutate


def renumber(told: Story) -> None:
    """Give each subject's events the sequences 1, 2, 3 … by their first occurrences."""
    numbers: dict[str, dict[str, int]] = defaultdict(dict)
    for place, each in enumerate(told.events):
        if each.sequence is not None:
            known = numbers[each.subject]
            told.events[place] = replace(each, sequence=known.setdefault(each.id, len(known) + 1))


def batch(ref: str, **changes: Any) -> Mutation:
    """Have the read side show another batch."""
    return lambda told: told.batches.update({ref: replace(told.batches[ref], **changes)})


def product(sku: str, **changes: Any) -> Mutation:
    """Have the read side show other sums."""
    return lambda told: told.products.update({sku: replace(told.products[sku], **changes)})


def show(line: LineSeen) -> Mutation:
    """Have the read side show this line."""
    return lambda told: told.lines.update({(line.order_id, line.sku): line})


def all_of(*mutations: Mutation) -> Mutation:
    """One after another."""

    def mutate(told: Story) -> None:
        for each in mutations:
            each(told)

    return mutate
