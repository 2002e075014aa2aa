"""The batches of a product as bars along the days of their arrival."""

from dataclasses import dataclass
from datetime import date, timedelta

from app.service_layer.results import BatchState

WIDTH, HEIGHT = 720.0, 130.0
MOST_BARS = 24
_WIDEST = 40.0
_LABEL_WIDTH = 48.0
_GAP = 12.0
_SHORTEST_AXIS = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar. `y` is from the top of the drawing."""

    kind: str
    qty: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A batch and its parts, from the bottom: shipped, allocated, held, free or unfit (blocked or expired)."""

    batch: BatchState
    x: float
    segments: list[Segment]
    has_label: bool

    @property
    def top(self) -> float:
        """Where its highest segment begins."""
        return min((segment.y for segment in self.segments), default=HEIGHT)


@dataclass(frozen=True, slots=True)
class Drawing:
    """The bars, and where today is on the axis. Batches in the warehouse are at its beginning."""

    bars: list[Bar]
    bar_width: float
    today_x: float
    left_out: int

    @property
    def has_unfit(self) -> bool:
        """Whether pieces of a batch are blocked or expired."""
        return any(segment.kind == "unfit" for bar in self.bars for segment in bar.segments)


def drawing_of(batches: list[BatchState], today: date) -> Drawing:
    """The bars of the first batches, which are in the order of arrival; those in the warehouse come first."""
    shown = batches[:MOST_BARS]
    stored = sum(batch.eta is None for batch in shown)
    # Today needs a place too.
    bar_width = min(_WIDEST, (WIDTH - 2 * _GAP) / (len(shown) + 1))
    days = [batch.eta for batch in shown if batch.eta is not None]
    late = sum(day < today for day in days)
    # Today has a place of its own between late batches and the others.
    places = _places([*days[:late], today, *days[late:]], stored * bar_width + _GAP, bar_width)
    xs = [number * bar_width for number in range(stored)] + places[:late] + places[late + 1 :]
    highest = max((batch.qty for batch in shown), default=1)
    bars: list[Bar] = []
    labelled = -_LABEL_WIDTH
    for batch, x in zip(shown, xs, strict=True):
        has_label = x >= labelled + _LABEL_WIDTH and (batch.eta is not None or not bars)
        labelled = x if has_label else labelled
        bars.append(Bar(batch, round(x, 1), _segments(batch, highest), has_label))
    return Drawing(bars, round(bar_width, 1), round(places[late], 1), len(batches) - len(shown))


def _places(days: list[date], start: float, width: float) -> list[float]:
    """Where each day is, in proportion, but no closer together than `width`."""
    first, last = days[0], max(days[-1], days[0] + _SHORTEST_AXIS)
    room = WIDTH - width - start
    places: list[float] = []
    for day in days:
        ideal = start + room * ((day - first) / (last - first))
        places.append(max(ideal, places[-1] + width) if places else ideal)
    end = WIDTH - width
    for number in reversed(range(len(places))):
        places[number] = end = min(places[number], end)
        end -= width
    return places


def _segments(batch: BatchState, highest: int) -> list[Segment]:
    parts = {
        "shipped": batch.shipped_qty,
        "allocated": batch.allocated_qty - batch.held_qty,
        "held": batch.held_qty,
        "free": batch.available_qty,
        "unfit": batch.qty - batch.shipped_qty - batch.allocated_qty - batch.available_qty,
    }
    segments, bottom = [], HEIGHT
    for kind, qty in parts.items():
        height = HEIGHT * qty / highest
        bottom -= height
        if qty:
            segments.append(Segment(kind, qty, round(bottom, 2), round(height, 2)))
    return segments
