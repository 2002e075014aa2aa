"""The state of the naive model, how it is shown, and its events.

Nothing is stored that can be counted, and nothing is fast.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from app.read_model.queries import ProductState
from app.service_layer.results import AllocationState, BatchState, LineStatus, StockState

OutboxEvent = tuple[int | None, str, dict[str, Any]]
"""An event in the outbox: its sequence, its type, its data."""


@dataclass(eq=False)
class NaiveBatch:
    ref: str
    sku: str
    qty: int
    eta: date | None
    first: tuple[object, ...]
    location: str = "main"
    best_before: date | None = None
    blocked: bool = False


Wants = tuple[tuple[str, ...], date | None, int]
"""The locations that may serve a line, best first, the day through which its goods have to be good, its priority."""

ANYTHING: Wants = ((), None, 5)


@dataclass(eq=False)
class NaiveLine:
    order_id: str
    sku: str
    qty: int
    wants: Wants = ANYTHING
    batch: NaiveBatch | None = None
    came: int = 0
    shipped: bool = False
    held_until: datetime | None = None
    line: str = ""

    @property
    def id(self) -> tuple[str, str]:
        """Identifies it within its order."""
        return self.sku, self.line


@dataclass
class NaiveOrder:
    """The lines that were placed together, each with the pieces as placed.

    A held order was not confirmed as a whole.
    """

    lines: list[tuple[NaiveLine, int]]
    is_held: bool


class Refusal(Exception):
    """A command was refused; the only argument is the problem code."""


class NaiveState:
    """Batches in the order in which they were recorded, lines in the order in which they were requested.

    `now` is what the clock shows. `used` is the last time of each SKU at which a hold began, was changed or ended, and
    `days` the day on which something happened to it last.
    """

    def __init__(self) -> None:
        self.batches: list[NaiveBatch] = []
        self.lines: list[NaiveLine] = []
        self.placed: dict[str, NaiveOrder] = {}
        self.reorder_points: dict[str, int] = {}
        self.outbox: defaultdict[str, list[OutboxEvent]] = defaultdict(list)
        self.now = datetime.min.replace(tzinfo=UTC)
        self.used: dict[str, datetime] = {}
        self.days: dict[str, date] = {}
        self.placements = 0

    # --- queries ---------------------------------------------------------------------------------------------------

    def batch(self, ref: str) -> BatchState | None:
        batch = self.find_batch(ref)
        return self.shown(batch) if batch else None

    def allocations(self, order_id: str) -> list[AllocationState]:
        return [allocation(line) for line in self.lines_of(order_id)]

    def product(self, sku: str) -> ProductState | None:
        batches = [self.shown(batch) for batch in self.preferred(sku)]
        if not batches:
            return None
        return ProductState(
            sku=sku,
            available_qty=sum(batch.available_qty for batch in batches),
            allocated_qty=sum(batch.allocated_qty for batch in batches),
            shipped_qty=sum(batch.shipped_qty for batch in batches),
            on_hand_qty=self.on_hand(sku),
            backordered_qty=sum(line.qty for line in self.lines if line.sku == sku and line.batch is None),
            reorder_point=self.reorder_points.get(sku),
            held_qty=sum(batch.held_qty for batch in batches),
            batches=batches,
        )

    # --- look-ups --------------------------------------------------------------------------------------------------

    def find_batch(self, ref: str) -> NaiveBatch | None:
        return next((batch for batch in self.batches if batch.ref == ref), None)

    def find_line(self, order_id: str, sku: str, name: str) -> NaiveLine | None:
        return next((line for line in self.lines_of(order_id) if line.id == (sku, name)), None)

    def lines_of(self, order_id: str) -> list[NaiveLine]:
        """The lines of the order, by SKU and name."""
        return sorted((line for line in self.lines if line.order_id == order_id), key=lambda line: line.id)

    def in_queue_order(self, lines: Iterable[NaiveLine]) -> list[NaiveLine]:
        """The highest priority first, then the oldest request."""
        return sorted(lines, key=lambda line: (-line.wants[2], self.lines.index(line)))

    def preferred(self, sku: str) -> list[NaiveBatch]:
        """The batches of the SKU, as a line without any wish prefers them."""
        batches = [batch for batch in self.batches if batch.sku == sku]
        return sorted(batches, key=lambda batch: self.preference(batch, ANYTHING))

    def preference(self, batch: NaiveBatch, wants: Wants) -> tuple[int, bool, str, date, int]:
        """A line takes the smallest: its first location, the warehouse, the first ETA, the shortest life, the oldest.

        A location that the line does not want comes last.
        """
        places, _, _ = wants
        rank = places.index(batch.location) if batch.location in places else len(places)
        life = batch.best_before or date.max
        return (rank, batch.eta is not None, str(batch.eta), life, self.batches.index(batch))

    def suits(self, batch: NaiveBatch, wants: Wants) -> bool:
        """Whether the batch is where the line wants it, and good for as long as the line wants."""
        places, good_until, _ = wants
        is_good = good_until is None or batch.best_before is None or batch.best_before >= good_until
        return is_good and (not places or batch.location in places)

    def best(self, line: NaiveLine) -> NaiveBatch | None:
        """All batches are tried."""
        fitting = [
            batch
            for batch in self.batches
            if batch.sku == line.sku and self.suits(batch, line.wants) and self.available(batch) >= line.qty
        ]
        return min(fitting, key=lambda batch: self.preference(batch, line.wants), default=None)

    def free(self, batch: NaiveBatch) -> int:
        return batch.qty - sum(line.qty for line in self.lines if line.batch is batch)

    def available(self, batch: NaiveBatch, day: date | None = None) -> int:
        """The free pieces, but none of a batch that is blocked, or not good on that day; None: today."""
        is_expired = batch.best_before is not None and batch.best_before < (day or self.today)
        return 0 if batch.blocked or is_expired else self.free(batch)

    @property
    def today(self) -> date:
        return self.now.date()

    def on_hand(self, sku: str) -> int:
        here = [self.shown(batch) for batch in self.batches if batch.sku == sku and batch.eta is None]
        return sum(batch.qty - batch.shipped_qty for batch in here)

    def unshipped(self, batch: NaiveBatch) -> list[NaiveLine]:
        return [line for line in self.lines if line.batch is batch and not line.shipped]

    def time_of(self, sku: str) -> datetime:
        """A clock that was set back revives nothing."""
        return max(self.now, self.used.get(sku, self.now))

    # --- what is shown ---------------------------------------------------------------------------------------------

    def stock(self, sku: str, day: date | None = None) -> StockState:
        """The stock level on that day; None: today."""
        shown = [self.shown(batch, day) for batch in self.preferred(sku)]
        available = sum(batch.available_qty for batch in shown)
        incoming = sum(batch.available_qty for batch in shown if batch.eta is not None)
        waiting = sum(line.qty for line in self.lines if line.sku == sku and line.batch is None)
        held = sum(batch.held_qty for batch in shown)
        return StockState(sku, self.reorder_points.get(sku), available, waiting, incoming, held)

    def shown(self, batch: NaiveBatch, day: date | None = None) -> BatchState:
        allocated = sum(line.qty for line in self.unshipped(batch))
        held = sum(line.qty for line in self.unshipped(batch) if line.held_until)
        shipped = batch.qty - self.free(batch) - allocated
        quantities = (allocated, shipped, self.available(batch, day), held)
        terms = (batch.location, batch.best_before, batch.blocked)
        return BatchState(batch.ref, batch.sku, batch.qty, batch.eta, *quantities, *terms)

    # --- events ----------------------------------------------------------------------------------------------------

    def raise_level_events(self, before: StockState, now: StockState) -> None:
        if before.available_qty == 0 and now.available_qty > 0:
            self._raise("back_in_stock.v1", now.sku, True, {"available_qty": now.available_qty})
        if _is_low(now) and not _is_low(before):
            shown = {name: value for name, value in asdict(now).items() if name not in {"sequence", "held_qty"}}
            # Held pieces may still be bought.
            self._raise("low_stock.v1", now.sku, True, {**shown, "available_qty": now.available_qty + now.held_qty})

    def raise_batch_event(self, kind: str, batch: NaiveBatch, **data: object) -> None:
        eta = str(batch.eta) if batch.eta else None
        self._raise(kind, batch.sku, True, {"ref": batch.ref, "qty": batch.qty, "eta": eta, **data})

    def raise_line_event(self, kind: str, line: NaiveLine, **data: object) -> None:
        # The events of a SKU that does not exist are not counted.
        counted = any(batch.sku == line.sku for batch in self.batches)
        name = {"line": line.line} if line.line else {}
        self._raise(kind, line.sku, counted, {"order_id": line.order_id, "qty": line.qty, **name, **data})

    def raise_order_event(self, kind: str, order_id: str, lines: list[NaiveLine], **data: object) -> None:
        items = [{"sku": each.sku, "qty": each.qty} | ({"line": each.line} if each.line else {}) for each in lines]
        self.outbox[order_id].append((None, kind, {"order_id": order_id, "lines": items, **data}))

    def _raise(self, kind: str, sku: str, counted: bool, data: dict[str, Any]) -> None:
        outbox = self.outbox[sku]
        number = sum(sequence is not None for sequence, _, _ in outbox) + 1
        outbox.append((number if counted else None, kind, {"sku": sku, **data}))


def _is_low(stock: StockState) -> bool:
    return stock.reorder_point is not None and stock.available_qty + stock.held_qty < stock.reorder_point


def allocation(line: NaiveLine) -> AllocationState:
    batch = line.batch
    if batch is None:
        return AllocationState(line.order_id, line.sku, line.qty, "backordered", None, None, None, line.line)
    status: LineStatus = "held" if line.held_until else "shipped" if line.shipped else "allocated"
    held_until = line.held_until
    return AllocationState(line.order_id, line.sku, line.qty, status, batch.ref, batch.eta, held_until, line.line)
