"""The events of today as bars, one for each hour."""

from dataclasses import dataclass

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
    """A kind of event. Each kind has its own scale, because allocations are many and arrivals few."""

    name: str
    kind: str
    total: int
    most: int
    bars: list[HourBar]


def series_of(hours: list[HourOfActivity]) -> list[Series]:
    """The bars of allocations, backorders and arrivals."""
    return [
        _series("Allocations", "allocations", [(hour.time.hour, hour.allocations) for hour in hours]),
        _series("Backorders", "backorders", [(hour.time.hour, hour.backorders) for hour in hours]),
        _series("Arrivals", "arrivals", [(hour.time.hour, hour.arrivals) for hour in hours]),
    ]


def _series(name: str, kind: str, counts: list[tuple[int, int]]) -> Series:
    most = max(count for _, count in counts)
    bars = []
    for hour, count in counts:
        if count:
            height = HEIGHT * count / most
            bars.append(HourBar(hour * SLOT + 1, round(HEIGHT - height, 2), round(height, 2)))
    return Series(name, kind, sum(count for _, count in counts), most, bars)
