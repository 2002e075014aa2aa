"""Delays of messages and events during a fault and without one, measured within one round.

Two cores run servers, service, clients and reader, so absolute times mean little; the check compares them with the time
just before.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import quantiles

from faults.journal import Answer, Entry
from faults.story import Event

FEW = 20
"""The minimum number of delays for a comparison."""

MEDIAN_FACTOR, MEDIAN_EXTRA = 2.0, 0.15
SLOW_FACTOR, SLOW_EXTRA = 3.0, 2.0
"""The permitted growth of the median and the 95th percentile: a factor, and additional seconds."""


@dataclass(frozen=True, slots=True)
class Span:
    """A period of a round."""

    start: float
    end: float

    def __contains__(self, moment: float) -> bool:
        return self.start <= moment < self.end


@dataclass(frozen=True, slots=True)
class Delays:
    """The number of delays, their median and their 95th percentile in seconds."""

    count: int
    median: float
    slow: float

    def __str__(self) -> str:
        """As text."""
        return f"{self.median:.2f} s (95th of a hundred {self.slow:.2f} s, of {self.count})"


def summary(seconds: Sequence[float]) -> Delays:
    """The figures of some delays."""
    if len(seconds) < 2:
        return Delays(len(seconds), *([max(seconds, default=0.0)] * 2))
    hundredths = quantiles(seconds, n=100, method="inclusive")
    return Delays(len(seconds), hundredths[49], hundredths[94])


def messages(
    answers: Iterable[tuple[Entry, Answer]],
    arrivals: Iterable[tuple[float, Event]],
    span: Span,
    without: Collection[str] = (),
) -> Delays:
    """From the sending of each inbound message to its first event, except for the SKUs `without`."""
    first: dict[str, float] = {}
    for arrived, event in arrivals:
        first[event.cause] = min(arrived, first.get(event.cause, arrived))
    sent = {
        entry.id: entry.answers[0].sent
        for entry, _ in answers
        if entry.via == "kafka" and entry.skus.isdisjoint(without)
    }
    return summary([first[each] - at for each, at in sent.items() if each in first and at in span])


def events(arrivals: Iterable[tuple[float, Event]], span: Span, without: Collection[str] = ()) -> Delays:
    """From the creation of each event to its arrival."""
    return summary(
        [
            arrived - event.created
            for arrived, event in arrivals
            if event.created in span and event.subject not in without
        ]
    )


def requests(answers: Iterable[tuple[Entry, Answer]], span: Span, without: Collection[str] = ()) -> Delays:
    """From the first request of each HTTP command to its definite response."""
    return summary(
        [
            answer.at - entry.answers[0].sent
            for entry, answer in answers
            if entry.via == "http"
            and answer.is_definite
            and entry.answers[0].sent in span
            and entry.skus.isdisjoint(without)
        ]
    )


def complaints(what: str, before: Delays, during: Delays) -> list[str]:
    """A complaint for each growth beyond the bounds, and for too few delays."""
    found = [
        f"{what}: only {delays.count} {when}, which is too few to compare"
        for when, delays in (("before", before), ("meanwhile", during))
        if delays.count < FEW
    ]
    for name, was, became, factor, extra in (
        ("the median", before.median, during.median, MEDIAN_FACTOR, MEDIAN_EXTRA),
        ("the 95th of a hundred", before.slow, during.slow, SLOW_FACTOR, SLOW_EXTRA),
    ):
        if became > factor * was + extra:
            found.append(
                f"{what}: {name} went from {was:.2f} s to {became:.2f} s, beyond {factor:g} times + {extra:g} s"
            )
    return found
