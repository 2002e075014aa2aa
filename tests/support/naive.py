"""The rules of allocation in their simplest form: lists that are searched for every question.

Nothing is stored that can be counted, and nothing is fast. Tests compare the service with it.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from app.domain.commands import (
    Allocate,
    CancelAllocation,
    CancelOrder,
    ChangeBatch,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CountBatch,
    CountProduct,
    CreateBatch,
    PlaceOrder,
    SetReorderPoint,
    ShipLine,
)
from app.read_model.queries import ProductState
from app.service_layer.results import (
    AllocationState,
    BatchChanged,
    BatchRecorded,
    BatchState,
    LineAccepted,
    LineMove,
    OrderAccepted,
    OrderState,
    ProductCounted,
    StockState,
)

OutboxEvent = tuple[int | None, str, dict[str, Any]]
"""An event in the outbox: its sequence, its type, its data."""


@dataclass(eq=False)
class NaiveBatch:
    ref: str
    sku: str
    qty: int
    eta: date | None
    first: tuple[int, date | None]


@dataclass(eq=False)
class NaiveLine:
    order_id: str
    sku: str
    qty: int
    batch: NaiveBatch | None = None
    came: int = 0
    shipped: bool = False


class Refusal(Exception):
    """A command was refused; the only argument is the problem code."""


class NaiveService:
    """Batches in the order in which they were recorded, lines in the order in which they were requested."""

    def __init__(self) -> None:
        self.batches: list[NaiveBatch] = []
        self.lines: list[NaiveLine] = []
        self.placed: dict[str, list[tuple[NaiveLine, int]]] = {}
        self.reorder_points: dict[str, int] = {}
        self.outbox: defaultdict[str, list[OutboxEvent]] = defaultdict(list)
        self._placements = 0

    # --- queries ---------------------------------------------------------------------------------------------------

    def batch(self, ref: str) -> BatchState | None:
        batch = self._batch(ref)
        return self._shown(batch) if batch else None

    def allocations(self, order_id: str) -> list[AllocationState]:
        lines = [line for line in self.lines if line.order_id == order_id]
        return [_allocation(line) for line in sorted(lines, key=lambda line: line.sku)]

    def product(self, sku: str) -> ProductState | None:
        batches = [self._shown(batch) for batch in self._preferred(sku)]
        if not batches:
            return None
        return ProductState(
            sku=sku,
            available_qty=sum(batch.available_qty for batch in batches),
            allocated_qty=sum(batch.allocated_qty for batch in batches),
            shipped_qty=sum(batch.shipped_qty for batch in batches),
            on_hand_qty=self._on_hand(sku),
            backordered_qty=sum(line.qty for line in self.lines if line.sku == sku and line.batch is None),
            reorder_point=self.reorder_points.get(sku),
            held_qty=0,
            batches=batches,
        )

    # --- commands --------------------------------------------------------------------------------------------------

    def play(self, command: Command) -> object:
        """The result of the command, or the code of its refusal."""
        before = {batch.sku: self._stock(batch.sku) for batch in self.batches}
        try:
            return self._play(command)
        except Refusal as refusal:
            return refusal.args[0]
        finally:
            for sku, stock in before.items():
                self._raise_level_events(stock, self._stock(sku))

    def _play(self, command: Command) -> object:
        if isinstance(command, ChangeBatchQuantity | ChangeBatchEta | ChangeBatch | CountBatch):
            return self._change(**command.model_dump(exclude_unset=True))
        plays: dict[type[Command], Callable[[Any], object]] = {
            CreateBatch: self._create,
            Allocate: self._allocate,
            ChangeLineQuantity: self._change_line,
            CancelAllocation: self._cancel,
            ShipLine: self._ship,
            PlaceOrder: self._place_order,
            CancelOrder: self._cancel_order,
            SetReorderPoint: self._set_reorder_point,
            CountProduct: self._count_product,
        }
        return plays[type(command)](command)

    def _create(self, command: CreateBatch) -> BatchRecorded:
        known = self._batch(command.ref)
        if known is not None:
            if (known.sku, *known.first) != (command.sku, command.qty, command.eta):
                raise Refusal("batch-conflict")
            return BatchRecorded(self._shown(known), created=False)
        batch = NaiveBatch(command.ref, command.sku, command.qty, command.eta, (command.qty, command.eta))
        self.batches.append(batch)
        self._raise_batch_event("batch_created.v1", batch)
        self._serve_queue(command.sku)
        return BatchRecorded(self._shown(batch), created=True)

    def _allocate(self, command: Allocate) -> LineAccepted:
        line = NaiveLine(command.order_id, command.sku, command.qty)
        if not any(batch.sku == command.sku for batch in self.batches):
            self._raise_line_event("allocation_failed.v1", line, counted=False, reason="invalid_sku")
            raise Refusal("invalid-sku")
        known = self._line(command.order_id, command.sku)
        if known is not None and known.qty != command.qty:
            self._raise_line_event("allocation_failed.v1", line, reason="conflict")
            raise Refusal("allocation-conflict")
        if known is not None:
            return LineAccepted(_allocation(known), created=False)
        if self._best(line) is None and command.if_unavailable == "reject":
            self._raise_line_event("out_of_stock.v1", line)
            self._raise_line_event("allocation_failed.v1", line, reason="out_of_stock")
            raise Refusal("out-of-stock")
        self.lines.append(line)
        self._place(line, self._best(line))
        return LineAccepted(_allocation(line), created=True)

    def _cancel(self, command: CancelAllocation) -> None:
        line = self._line(command.order_id, command.sku)
        if line is None:
            raise Refusal("allocation-not-found")
        if line.shipped:
            raise Refusal("already-shipped")
        self.lines.remove(line)
        ref = line.batch.ref if line.batch else None
        self._raise_line_event("line_deallocated.v1", line, batch_ref=ref, reason="cancelled")
        self._serve_queue(line.sku)

    def _change_line(self, command: ChangeLineQuantity) -> AllocationState:
        line, wanted = self._line(command.order_id, command.sku), NaiveLine(command.order_id, command.sku, command.qty)
        if line is None:
            raise Refusal("allocation-not-found")
        if line.qty == command.qty:
            return _allocation(line)
        if line.shipped:
            raise Refusal("already-shipped")
        own, line.batch = line.batch, None
        stays = own is not None and self._available(own) >= wanted.qty
        best = own if stays else self._best(wanted)
        line.batch = own
        if own is not None and best is None:
            self._raise_line_event("out_of_stock.v1", wanted)
            self._raise_line_event("allocation_failed.v1", wanted, reason="out_of_stock")
            raise Refusal("out-of-stock")
        ref, came = own.ref if own else None, line.came
        self._raise_line_event("line_deallocated.v1", line, batch_ref=ref, reason="cancelled", new_qty=wanted.qty)
        line.qty = wanted.qty
        self._place(line, best)
        if stays:
            line.came = came
        self._serve_queue(line.sku)
        return _allocation(line)

    def _ship(self, command: ShipLine) -> AllocationState:
        line = self._line(command.order_id, command.sku)
        if line is None:
            raise Refusal("allocation-not-found")
        if line.batch is None:
            raise Refusal("not-allocated")
        if not line.shipped:
            line.shipped = True
            self._raise_line_event("line_shipped.v1", line, batch_ref=line.batch.ref)
        return _allocation(line)

    def _place_order(self, command: PlaceOrder) -> OrderAccepted:
        order_id = command.order_id
        wanted = sorted((line.sku, line.qty) for line in command.lines)
        present = sorted((line for line in self.lines if line.order_id == order_id), key=lambda line: line.sku)
        placed = self.placed.get(order_id, [])
        if not any(line in present for line, _ in placed):
            placed = [(line, line.qty) for line in present]
        placed = [(line, line.qty if line in present else qty) for line, qty in placed]
        if present and [(line.sku, qty) for line, qty in placed] != wanted:
            self._refuse_order(order_id, wanted, "conflict")
            raise Refusal("order-conflict")
        if present:
            self.placed[order_id] = placed
            return OrderAccepted(OrderState.of(order_id, self.allocations(order_id)), created=False)
        lines = [NaiveLine(order_id, sku, qty) for sku, qty in wanted]
        unknown = [line for line in lines if not self._preferred(line.sku)]
        for line in unknown:
            self._raise_line_event("allocation_failed.v1", line, counted=False, reason="invalid_sku")
        if unknown:
            self._refuse_order(order_id, [(line.sku, line.qty) for line in unknown], "invalid_sku")
            raise Refusal("invalid-sku")
        short = [line for line in lines if self._best(line) is None]
        if short and command.if_unavailable == "reject":
            for line in short:
                self._raise_line_event("out_of_stock.v1", line)
                self._raise_line_event("allocation_failed.v1", line, reason="out_of_stock")
            self._refuse_order(order_id, [(line.sku, line.qty) for line in short], "out_of_stock")
            raise Refusal("out-of-stock")
        self._raise_order_event("order_placed.v1", order_id, wanted)
        for line in lines:
            self.lines.append(line)
            self._place(line, self._best(line))
        self.placed[order_id] = [(line, line.qty) for line in lines]
        return OrderAccepted(OrderState.of(order_id, self.allocations(order_id)), created=True)

    def _cancel_order(self, command: CancelOrder) -> None:
        order_id = command.order_id
        present = self.allocations(order_id)
        if not present:
            raise Refusal("order-not-found")
        unshipped = [line for line in present if line.status != "shipped"]
        for line in unshipped:
            self._cancel(CancelAllocation(order_id=order_id, sku=line.sku))
        if unshipped:
            self._raise_order_event("order_cancelled.v1", order_id, [(line.sku, line.qty) for line in unshipped])
        if len(unshipped) == len(present):
            self.placed.pop(order_id, None)

    def _set_reorder_point(self, command: SetReorderPoint) -> StockState:
        if not any(batch.sku == command.sku for batch in self.batches):
            raise Refusal("product-not-found")
        self.reorder_points.pop(command.sku, None)
        if command.qty > 0:
            self.reorder_points[command.sku] = command.qty
        return self._stock(command.sku)

    def _change(self, ref: str, **changes: Any) -> BatchChanged:
        batch = self._batch(ref)
        if batch is None:
            raise Refusal("batch-not-found")
        if "on_hand_qty" in changes:
            shipped = self._shown(batch).shipped_qty
            changes["qty"] = changes["on_hand_qty"] + changes.get("shipped_qty", shipped)
        if "qty" in changes:
            if changes.get("expected_qty") not in {None, batch.qty} and changes["qty"] != batch.qty:
                raise Refusal("quantity-changed")
            if changes["qty"] < sum(line.qty for line in self.lines if line.batch is batch and line.shipped):
                raise Refusal("below-shipped")
        moved: list[NaiveLine] = []
        if changes.get("eta", batch.eta) != batch.eta:
            moved += self._change_eta(batch, changes["eta"], reallocate=changes.get("reallocate", False))
        if changes.get("qty", batch.qty) != batch.qty:
            moved += self._change_quantities({batch: changes["qty"]}, changes)
        moves = [
            LineMove(line.order_id, line.sku, line.qty, ref, line.batch.ref if line.batch else None)
            for line in self.lines
            if line in moved
        ]
        self._serve_queue(batch.sku)
        return BatchChanged(self._shown(batch), moves)

    def _change_eta(self, batch: NaiveBatch, eta: date | None, *, reallocate: bool) -> list[NaiveLine]:
        before = _arrival(batch)
        first = sorted((line for line in self.lines if self._can_leave(line, batch)), key=lambda line: line.came)
        batch.eta = eta
        orders = [line.order_id for line in first]
        self._raise_batch_event("batch_eta_changed.v1", batch, order_ids=orders, order_count=len(orders))
        is_late = _arrival(batch) > before
        sooner: dict[NaiveLine, NaiveBatch] = {}
        for line in self.lines:
            best = self._best(line)
            if not (reallocate and is_late and self._can_leave(line, batch)) or best is None:
                continue
            preferred = self._preferred(batch.sku)
            if preferred.index(best) < preferred.index(batch):
                line.batch = sooner[line] = best
        for line in sooner:
            self._raise_line_event("line_deallocated.v1", line, batch_ref=batch.ref, reason="batch_eta_changed")
        for line, best in sooner.items():
            self._place(line, best)
        return list(sooner)

    def _change_quantities(self, new: dict[NaiveBatch, int], why: dict[str, Any]) -> dict[NaiveLine, NaiveBatch]:
        """Returns the lines that moved, oldest request first, and the batch that each of them left."""
        released: dict[NaiveLine, NaiveBatch] = {}
        for batch, qty in new.items():
            batch.qty = qty
            facts = {name: why.get(name) for name in ("reason", "reference")}
            self._raise_batch_event("batch_quantity_changed.v1", batch, **facts)
            while self._available(batch) < 0:
                last = max((line for line in self.lines if self._can_leave(line, batch)), key=lambda line: line.came)
                last.batch = None
                released[last] = batch
        by_request = [line for line in self.lines if line in released]
        for line in by_request:
            line.batch = self._best(line)
        for line, batch in released.items():
            if line.batch is not batch:
                reason = "batch_quantity_changed"
                self._raise_line_event("line_deallocated.v1", line, batch_ref=batch.ref, reason=reason)
        moved = {line: released[line] for line in by_request if line.batch is not released[line]}
        for line in moved:
            self._place(line, line.batch)
        return moved

    def _count_product(self, command: CountProduct) -> ProductCounted:
        sku, wanted = command.sku, command.on_hand_qty
        here = [batch for batch in self.batches if batch.sku == sku and batch.eta is None]
        if wanted == 0 and not self._preferred(sku):
            raise Refusal("product-not-found")
        if command.expected_on_hand_qty not in {None, self._on_hand(sku)} and wanted != self._on_hand(sku):
            raise Refusal("quantity-changed")
        missing, new = wanted - self._on_hand(sku), {batch: batch.qty for batch in reversed(here)}
        if missing > 0 and here:
            new[here[-1]] += missing
        elif missing > 0:
            number = 1 + sum(sequence is not None for sequence, _, _ in self.outbox[sku])
            self._create(CreateBatch(ref=f"count-{number}-{sku}", sku=sku, qty=missing))
        for _ in range(-missing):
            cut = {batch: batch.qty - qty for batch, qty in new.items()}
            spare = [batch for batch in here if self._available(batch) > cut[batch]]
            held = [batch for batch in here if batch.qty - self._shown(batch).shipped_qty > cut[batch]]
            new[(spare or held)[-1]] -= 1
        changed = {batch: qty for batch, qty in new.items() if qty != batch.qty}
        moved = self._change_quantities(changed, command.model_dump())
        moves = [
            LineMove(line.order_id, sku, line.qty, batch.ref, line.batch.ref if line.batch else None)
            for line, batch in moved.items()
        ]
        self._serve_queue(sku)
        return ProductCounted(self._stock(sku), self._on_hand(sku), moves)

    # --- the rules -------------------------------------------------------------------------------------------------

    def _best(self, line: NaiveLine) -> NaiveBatch | None:
        fitting = (batch for batch in self._preferred(line.sku) if self._available(batch) >= line.qty)
        return next(fitting, None)

    def _preferred(self, sku: str) -> list[NaiveBatch]:
        """In the warehouse first, then by ETA; equals in the order of recording, which sorting keeps."""
        batches = [batch for batch in self.batches if batch.sku == sku]
        in_warehouse = [batch for batch in batches if batch.eta is None]
        return in_warehouse + sorted((batch for batch in batches if batch.eta is not None), key=lambda b: str(b.eta))

    def _place(self, line: NaiveLine, batch: NaiveBatch | None) -> None:
        line.batch = batch
        if batch is None:
            self._raise_line_event("out_of_stock.v1", line)
            self._raise_line_event("line_backordered.v1", line)
        else:
            self._placements += 1
            line.came = self._placements
            self._raise_line_event("line_allocated.v1", line, batch_ref=batch.ref)

    def _serve_queue(self, sku: str) -> None:
        for line in self.lines:
            if line.sku == sku and line.batch is None and (batch := self._best(line)):
                self._place(line, batch)

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _batch(self, ref: str) -> NaiveBatch | None:
        return next((batch for batch in self.batches if batch.ref == ref), None)

    def _line(self, order_id: str, sku: str) -> NaiveLine | None:
        return next((line for line in self.lines if (line.order_id, line.sku) == (order_id, sku)), None)

    def _available(self, batch: NaiveBatch) -> int:
        return batch.qty - sum(line.qty for line in self.lines if line.batch is batch)

    def _on_hand(self, sku: str) -> int:
        here = [self._shown(batch) for batch in self.batches if batch.sku == sku and batch.eta is None]
        return sum(batch.qty - batch.shipped_qty for batch in here)

    def _stock(self, sku: str) -> StockState:
        shown = [self._shown(batch) for batch in self._preferred(sku)]
        available = sum(batch.available_qty for batch in shown)
        incoming = sum(batch.available_qty for batch in shown if batch.eta is not None)
        waiting = sum(line.qty for line in self.lines if line.sku == sku and line.batch is None)
        return StockState(sku, self.reorder_points.get(sku), available, waiting, incoming, 0)

    def _shown(self, batch: NaiveBatch) -> BatchState:
        held = sum(line.qty for line in self.lines if self._can_leave(line, batch))
        available = self._available(batch)
        shipped = batch.qty - available - held
        return BatchState(batch.ref, batch.sku, batch.qty, batch.eta, held, shipped, available, 0)

    def _can_leave(self, line: NaiveLine, batch: NaiveBatch) -> bool:
        return line.batch is batch and not line.shipped

    def _raise_level_events(self, before: StockState, now: StockState) -> None:
        if before.available_qty == 0 and now.available_qty > 0:
            self._raise("back_in_stock.v1", now.sku, True, {"available_qty": now.available_qty})
        if _is_low(now) and not _is_low(before):
            shown = {name: value for name, value in asdict(now).items() if name not in {"sequence", "held_qty"}}
            self._raise("low_stock.v1", now.sku, True, shown)

    def _raise_batch_event(self, kind: str, batch: NaiveBatch, **data: object) -> None:
        eta = str(batch.eta) if batch.eta else None
        self._raise(kind, batch.sku, True, {"ref": batch.ref, "qty": batch.qty, "eta": eta, **data})

    def _raise_line_event(self, kind: str, line: NaiveLine, *, counted: bool = True, **data: object) -> None:
        self._raise(kind, line.sku, counted, {"order_id": line.order_id, "qty": line.qty, **data})

    def _refuse_order(self, order_id: str, lines: list[tuple[str, int]], reason: str) -> None:
        self._raise_order_event("order_refused.v1", order_id, lines, reason=reason)

    def _raise_order_event(self, kind: str, order_id: str, lines: list[tuple[str, int]], **data: object) -> None:
        items = [{"sku": sku, "qty": qty} for sku, qty in lines]
        self.outbox[order_id].append((None, kind, {"order_id": order_id, "lines": items, **data}))

    def _raise(self, kind: str, sku: str, counted: bool, data: dict[str, Any]) -> None:
        outbox = self.outbox[sku]
        number = sum(sequence is not None for sequence, _, _ in outbox) + 1
        outbox.append((number if counted else None, kind, {"sku": sku, **data}))


def _is_low(stock: StockState) -> bool:
    return stock.reorder_point is not None and stock.available_qty < stock.reorder_point


def _arrival(batch: NaiveBatch) -> tuple[bool, str]:
    return (batch.eta is not None, str(batch.eta))


def _allocation(line: NaiveLine) -> AllocationState:
    batch = line.batch
    if batch is None:
        return AllocationState(line.order_id, line.sku, line.qty, "backordered", None, None, None)
    return AllocationState(
        line.order_id, line.sku, line.qty, "shipped" if line.shipped else "allocated", batch.ref, batch.eta, None
    )
