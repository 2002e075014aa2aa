"""The batches of a product as bars: where their pieces are."""

from dataclasses import dataclass

from app.read_model.queries import ProductState
from app.service_layer.results import BatchState

WIDTH = 100.0
MOST_BARS = 100


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar. `x` and `width` are in percent of the longest bar."""

    kind: str
    qty: int
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A batch and its parts, in this order: shipped, allocated, held, free."""

    batch: BatchState
    segments: list[Segment]


def bars_of(product: ProductState) -> list[Bar]:
    """A bar for each batch that is not used up, in the order of arrival; at most MOST_BARS."""
    batches = [batch for batch in product.batches if batch.shipped_qty < batch.qty][:MOST_BARS]
    longest = max((batch.qty for batch in batches), default=1)
    return [Bar(batch, _segments(batch, longest)) for batch in batches]


def _segments(batch: BatchState, longest: int) -> list[Segment]:
    parts = {
        "shipped": batch.shipped_qty,
        "allocated": batch.allocated_qty - batch.held_qty,
        "held": batch.held_qty,
        "free": batch.available_qty,
    }
    segments, x = [], 0.0
    for kind, qty in parts.items():
        width = WIDTH * qty / longest
        if qty:
            segments.append(Segment(kind, qty, round(x, 2), round(width, 2)))
        x += width
    return segments
