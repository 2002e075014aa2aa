"""Whether measurements of a long run are flat: the median of the last third against that of the first one.

A median ignores what a fault does to a few samples, and what grows all the time moves it.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

FEWEST = 9
"""Samples; three in each third."""


@dataclass(frozen=True)
class Bound:
    """The last third may be `factor` times the first one, plus `margin`, in the unit of the measurement."""

    factor: float
    margin: float


@dataclass
class Series:
    """Measurements by their names, in the order of time."""

    bounds: Mapping[str, Bound]
    """By the first word of a name."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, sample: Mapping[str, float]) -> None:
        """Add one measurement to each of the named series."""
        for name, value in sample.items():
            self.values[name].append(value)

    def complaints(self) -> Iterator[str]:
        """What has grown beyond its bound, or was measured too rarely to know."""
        for name, values in sorted(self.values.items()):
            bound = self.bounds[name.split()[0]]
            if len(values) < FEWEST:
                yield f"{name} was measured {len(values)} times, less than {FEWEST}"
                continue
            first, last = thirds(values)
            limit = bound.factor * first + bound.margin
            if last > limit:
                yield f"{name} grew from {first:,.1f} to {last:,.1f}, beyond {limit:,.1f}"

    def summary(self) -> Iterator[str]:
        """The medians of the first and the last third of each series."""
        for name, values in sorted(self.values.items()):
            first, last = thirds(values) if len(values) >= FEWEST else (values[0], values[-1])
            yield f"{name}: {first:,.1f} -> {last:,.1f}"


def thirds(values: Sequence[float]) -> tuple[float, float]:
    """The medians of the first and of the last third."""
    size = len(values) // 3
    return statistics.median(values[:size]), statistics.median(values[-size:])
