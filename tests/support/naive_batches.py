"""The naive rules of batches and counts."""

from datetime import date
from typing import Any

from app.domain.commands import CountProduct, CreateBatch, SetReorderPoint
from app.service_layer.results import BatchChanged, BatchRecorded, LineMove, ProductCounted, StockState
from tests.support.naive_lines import NaiveLines
from tests.support.naive_state import ANYTHING, NaiveBatch, NaiveLine, Refusal


class NaiveBatches(NaiveLines):
    """What commands do with batches and products."""

    def create(self, command: CreateBatch) -> BatchRecorded:
        known, terms = self.find_batch(command.ref), (command.location, command.best_before, command.blocked)
        first = (command.sku, command.qty, command.eta, *terms)
        if known is not None:
            if known.first != first:
                raise Refusal("batch-conflict")
            return BatchRecorded(self.shown(known), created=False)
        batch = NaiveBatch(command.ref, command.sku, command.qty, command.eta, first, *terms)
        self.batches.append(batch)
        # What is as usual is left out.
        usual = {"location": "main", "best_before": None, "blocked": False}
        shown = {name: value for name, value in _terms(batch).items() if value != usual[name]}
        self.raise_batch_event("batch_created.v1", batch, **shown)
        self.serve_queue(command.sku)
        return BatchRecorded(self.shown(batch), created=True)

    def set_reorder_point(self, command: SetReorderPoint) -> StockState:
        if not any(batch.sku == command.sku for batch in self.batches):
            raise Refusal("product-not-found")
        self.reorder_points.pop(command.sku, None)
        if command.qty > 0:
            self.reorder_points[command.sku] = command.qty
        return self.stock(command.sku)

    def change(self, ref: str, **changes: Any) -> BatchChanged:
        batch = self.find_batch(ref)
        if batch is None:
            raise Refusal("batch-not-found")
        if "on_hand_qty" in changes:
            shipped = self.shown(batch).shipped_qty
            changes["qty"] = changes["on_hand_qty"] + changes.get("shipped_qty", shipped)
        if "qty" in changes:
            if changes.get("expected_qty") not in {None, batch.qty} and changes["qty"] != batch.qty:
                raise Refusal("quantity-changed")
            if changes["qty"] < sum(line.qty for line in self.lines if line.batch is batch and line.shipped):
                raise Refusal("below-shipped")
        moved: list[NaiveLine] = []
        self._change_terms(batch, changes)
        reallocate = changes.get("reallocate", False)
        if changes.get("eta", batch.eta) != batch.eta:
            moved += self._change_eta(batch, changes["eta"], reallocate=reallocate and not batch.blocked)
        if reallocate and batch.blocked:
            released: dict[NaiveLine, NaiveBatch] = {}
            self._release(batch, self.unshipped(batch), released)
            moved += self._place_anew(released, "batch_blocked")
        if changes.get("qty", batch.qty) != batch.qty:
            moved += self._change_quantities({batch: changes["qty"]}, changes)
        moves = [
            LineMove(line.order_id, line.sku, line.qty, ref, line.batch.ref if line.batch else None, line.line)
            for line in self.lines
            if line in moved
        ]
        self.serve_queue(batch.sku)
        return BatchChanged(self.shown(batch), moves)

    def _change_terms(self, batch: NaiveBatch, changes: dict[str, Any]) -> None:
        before = _terms(batch)
        for name in before.keys() & changes:
            setattr(batch, name, changes[name])
        if _terms(batch) != before:
            self.raise_batch_event("batch_changed.v1", batch, **_terms(batch))

    def _change_eta(self, batch: NaiveBatch, eta: date | None, *, reallocate: bool) -> list[NaiveLine]:
        before = self.preference(batch, ANYTHING)
        firm = [line for line in self.unshipped(batch) if not line.held_until]
        first = sorted(firm, key=lambda line: line.came)
        batch.eta = eta
        orders = [line.order_id for line in first]
        self.raise_batch_event(
            "batch_eta_changed.v1", batch, order_ids=list(dict.fromkeys(orders)), order_count=len(orders)
        )
        is_late = self.preference(batch, ANYTHING) > before
        sooner: dict[NaiveLine, NaiveBatch] = {}
        for line in self.lines:
            best = self.best(line)
            if not (reallocate and is_late and line in self.unshipped(batch)) or best is None:
                continue
            if self.preference(best, line.wants) < self.preference(batch, line.wants):
                line.batch = sooner[line] = best
        for line in (line for line in sooner if not line.held_until):
            self.raise_line_event("line_deallocated.v1", line, batch_ref=batch.ref, reason="batch_eta_changed")
        for line, best in sooner.items():
            self.place(line, best)
        return list(sooner)

    def _change_quantities(self, new: dict[NaiveBatch, int], why: dict[str, Any]) -> dict[NaiveLine, NaiveBatch]:
        """Returns the lines that moved, oldest request first, and the batch that each of them left."""
        released: dict[NaiveLine, NaiveBatch] = {}
        for batch, qty in new.items():
            batch.qty = qty
            facts = {name: why.get(name) for name in ("reason", "reference")}
            self.raise_batch_event("batch_quantity_changed.v1", batch, **facts)
            while self.free(batch) < 0:
                self._release(batch, [max(self.unshipped(batch), key=_last)], released)
        return self._place_anew(released, "batch_quantity_changed")

    def _release(self, batch: NaiveBatch, lines: list[NaiveLine], released: dict[NaiveLine, NaiveBatch]) -> None:
        """Holds first, and the line that came last first."""
        for line in sorted(lines, key=_last, reverse=True):
            line.batch = None
            released[line] = batch

    def _place_anew(self, released: dict[NaiveLine, NaiveBatch], reason: str) -> dict[NaiveLine, NaiveBatch]:
        """Returns the lines that moved, oldest request first, and the batch that each of them left."""
        in_order = self.in_queue_order(released)
        for line in in_order:
            line.batch = self.best(line)
        for line, batch in released.items():
            if line.batch is not batch and not line.held_until:
                self.raise_line_event("line_deallocated.v1", line, batch_ref=batch.ref, reason=reason)
        moved = {line: released[line] for line in self.lines if line in released and line.batch is not released[line]}
        for line in [line for line in in_order if line in moved]:
            batch = released[line]
            if line.held_until and line.batch is None:
                # A hold never waits.
                self.end_hold(line, batch, reason)
                del moved[line]
            else:
                self.place(line, line.batch)
        return moved

    def count_product(self, command: CountProduct) -> ProductCounted:
        sku, wanted = command.sku, command.on_hand_qty
        arrived = [batch for batch in self.batches if batch.sku == sku and batch.eta is None]
        if wanted == 0 and not any(batch.sku == sku for batch in self.batches):
            raise Refusal("product-not-found")
        location = command.location or self._only_location(arrived)
        here = [batch for batch in arrived if batch.location == location]
        on_hand = self._on_hand_of(here)
        if command.expected_on_hand_qty not in {None, on_hand} and wanted != on_hand:
            raise Refusal("quantity-changed")
        missing, new = wanted - on_hand, {batch: batch.qty for batch in reversed(here)}
        if missing > 0 and here:
            new[here[-1]] += missing
        elif missing > 0:
            number = 1 + sum(sequence is not None for sequence, _, _ in self.outbox[sku])
            self.create(CreateBatch(ref=f"count-{number}-{sku}", sku=sku, qty=missing, location=location))
        for _ in range(-missing):
            cut = {batch: batch.qty - qty for batch, qty in new.items()}
            spare = [batch for batch in here if self.free(batch) > cut[batch]]
            held = [batch for batch in here if batch.qty - self.shown(batch).shipped_qty > cut[batch]]
            new[(spare or held)[-1]] -= 1
        changed = {batch: qty for batch, qty in new.items() if qty != batch.qty}
        moved = self._change_quantities(changed, command.model_dump())
        moves = [
            LineMove(line.order_id, sku, line.qty, batch.ref, line.batch.ref if line.batch else None, line.line)
            for line, batch in moved.items()
        ]
        self.serve_queue(sku)
        counted = [each for each in self.batches if (each.sku, each.eta, each.location) == (sku, None, location)]
        return ProductCounted(self.stock(sku), self._on_hand_of(counted), moves)

    def _on_hand_of(self, batches: list[NaiveBatch]) -> int:
        return sum(batch.qty - self.shown(batch).shipped_qty for batch in batches)

    def _only_location(self, arrived: list[NaiveBatch]) -> str:
        stocked = {batch.location for batch in arrived if self._on_hand_of([batch])}
        if len(stocked) > 1:
            raise Refusal("location-required")
        return stocked.pop() if stocked else arrived[-1].location if arrived else "main"


def _terms(batch: NaiveBatch) -> dict[str, Any]:
    day = str(batch.best_before) if batch.best_before else None
    return {"location": batch.location, "best_before": day, "blocked": batch.blocked}


def _last(line: NaiveLine) -> tuple[bool, int]:
    return (line.held_until is not None, line.came)
