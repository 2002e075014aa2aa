"""The events of today as bars, one for each hour."""

from collections import Counter
from dataclasses import dataclass
from datetime import tzinfo

from app.read_model.activity import HourOfActivity

SLOT, HEIGHT = 10, 40.0
_BAR_WIDTH = 8


@dataclass(frozen=True, slots=True)
class HourBar:
    """The bar of an hour."""

    x: int
    y: float
    height: float
    width: int = _BAR_WIDTH


@dataclass(frozen=True, slots=True)
class Series:
    """A kind of event. Each kind has its own scale, because allocations are many and batches few."""

    name: str
    kind: str
    total: int
    most: int
    bars: list[HourBar]


def series_of(hours: list[HourOfActivity], zone: tzinfo) -> list[Series]:
    """The bars of allocations, backorders and received batches, at the hours of the zone."""
    numbers = [hour.time.astimezone(zone).hour for hour in hours]
    return [
        _series("Allocations", "allocations", numbers, [hour.allocations for hour in hours]),
        _series("Backorders", "backorders", numbers, [hour.backorders for hour in hours]),
        _series("Batches received", "received", numbers, [hour.arrivals for hour in hours]),
    ]


def _series(name: str, kind: str, hours: list[int], counts: list[int]) -> Series:
    # At the end of summer time one hour of the clock occurs twice, with one bar for both.
    by_hour: Counter[int] = Counter()
    for hour, count in zip(hours, counts, strict=True):
        by_hour[hour] += count
    most = max(by_hour.values())
    bars = []
    for hour, count in by_hour.items():
        if count:
            height = HEIGHT * count / most
            bars.append(HourBar(hour * SLOT + 1, round(HEIGHT - height, 2), round(height, 2)))
    return Series(name, kind, sum(counts), most, bars)
