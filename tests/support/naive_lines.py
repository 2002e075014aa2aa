"""The naive rules of order lines and holds."""

from datetime import datetime, timedelta
from typing import Literal

from app.domain.commands import Allocate, CancelAllocation, ChangeLineQuantity, OrderedLine, ShipLine
from app.service_layer.results import AllocationState, LineAccepted
from tests.support.naive_state import ANYTHING, NaiveBatch, NaiveLine, NaiveState, Refusal, Wants, allocation


class NaiveLines(NaiveState):
    """What commands do with single lines."""

    def allocate(self, command: Allocate) -> LineAccepted:
        line = self.line_of(command.order_id, command)
        if not self.preferred(command.sku):
            self.raise_line_event("allocation_failed.v1", line, reason="invalid_sku")
            raise Refusal("invalid-sku")
        known = self.find_line(command.order_id, command.sku, command.line)
        if known is not None and (known.qty, known.wants) != (line.qty, line.wants):
            self.raise_line_event("allocation_failed.v1", line, reason="conflict")
            raise Refusal("allocation-conflict")
        if command.hold_seconds is not None and known is None:
            self.begin_hold(line, self.time_of(command.sku) + timedelta(seconds=command.hold_seconds))
            return LineAccepted(allocation(line), changed=True)
        if known is not None and (command.hold_seconds is not None or known.held_until is None):
            return LineAccepted(allocation(known), changed=False)
        return LineAccepted(allocation(self.make_firm(line, command.if_unavailable)), changed=True)

    def make_firm(self, line: NaiveLine, if_unavailable: Literal["backorder", "reject"]) -> NaiveLine:
        """Confirm the line where it is held, without a look at the stock; else place it."""
        known = self.find_line(line.order_id, *line.id)
        if known is not None:
            if known.held_until is not None:
                known.held_until = None
                self.place(known, known.batch)
            return known
        if self.best(line) is None and if_unavailable == "reject":
            self.refuse(line)
        self.lines.append(line)
        self.place(line, self.best(line))
        return line

    def begin_hold(self, line: NaiveLine, held_until: datetime) -> None:
        best = self.best(line)
        if best is None:
            self.raise_line_event("allocation_failed.v1", line, reason="out_of_stock")
            raise Refusal("out-of-stock")
        line.held_until = held_until
        self.used[line.sku] = self.time_of(line.sku)
        self.lines.append(line)
        self.place(line, best)

    def refuse(self, line: NaiveLine) -> None:
        self.raise_line_event("out_of_stock.v1", line)
        self.raise_line_event("allocation_failed.v1", line, reason="out_of_stock")
        raise Refusal("out-of-stock")

    def cancel(self, command: CancelAllocation) -> None:
        line = self.find_line(command.order_id, command.sku, command.line)
        if line is None:
            raise Refusal("allocation-not-found")
        if line.shipped:
            raise Refusal("already-shipped")
        self.remove(line)
        self.serve_queue(line.sku)

    def remove(self, line: NaiveLine) -> None:
        if line.held_until:
            self.end_hold(line, line.batch, "cancelled")
        else:
            self.lines.remove(line)
            ref = line.batch.ref if line.batch else None
            self.raise_line_event("line_deallocated.v1", line, batch_ref=ref, reason="cancelled")

    def change_line(self, command: ChangeLineQuantity) -> AllocationState:
        line = self.find_line(command.order_id, command.sku, command.line)
        if line is None:
            raise Refusal("allocation-not-found")
        if line.qty == command.qty:
            return allocation(line)
        if line.shipped:
            raise Refusal("already-shipped")
        self.resize(line, NaiveLine(line.order_id, line.sku, command.qty, line.wants, line=line.line), line.held_until)
        self.serve_queue(line.sku)
        return allocation(line)

    def resize(self, line: NaiveLine, wanted: NaiveLine, held_until: datetime | None) -> None:
        """Its own pieces are available to it."""
        own, came, stays = line.batch, line.came, self.stays(line, wanted)
        if own is not None and not self.can_hold(wanted):
            if not line.held_until:
                self.raise_line_event("out_of_stock.v1", wanted)
            self.raise_line_event("allocation_failed.v1", wanted, reason="out_of_stock")
            raise Refusal("out-of-stock")
        best = own if stays else self.best(wanted)
        ref = own.ref if own else None
        if line.held_until:
            self.raise_line_event("hold_released.v1", line, batch_ref=ref, reason="replaced")
        else:
            self.raise_line_event("line_deallocated.v1", line, batch_ref=ref, reason="cancelled", new_qty=wanted.qty)
        line.qty, line.wants, line.held_until = wanted.qty, wanted.wants, held_until
        self.place(line, best)
        if stays:
            line.came = came

    def ship(self, command: ShipLine) -> AllocationState:
        line = self.find_line(command.order_id, command.sku, command.line)
        if line is None:
            raise Refusal("allocation-not-found")
        if line.batch is None:
            raise Refusal("not-allocated")
        if line.held_until:
            raise Refusal("not-confirmed")
        if not line.shipped:
            line.shipped = True
            self.raise_line_event("line_shipped.v1", line, batch_ref=line.batch.ref)
        return allocation(line)

    # --- what they have in common ----------------------------------------------------------------------------------

    def can_hold(self, line: NaiveLine) -> bool:
        """Whether a batch has the line already, or has room for it; its own pieces are room."""
        own = self.find_line(line.order_id, *line.id)
        return (own is not None and self.stays(own, line)) or self.best(line) is not None

    def stays(self, line: NaiveLine, wanted: NaiveLine) -> bool:
        """Whether the line stays on its batch: where nothing more is asked of it, or where it could be placed anew."""
        batch = line.batch
        if batch is None:
            return False
        if wanted.qty > line.qty:
            return self.suits(batch, wanted.wants) and self.available(batch) >= wanted.qty - line.qty
        return wanted.wants == line.wants or self.suits(batch, wanted.wants)

    def line_of(self, order_id: str, given: Allocate | OrderedLine) -> NaiveLine:
        """The line as it is asked for. What it leaves out is as before, where the order has the SKU."""
        wants: Wants = (tuple(given.from_locations or ()), given.good_until, given.priority)
        known = self.find_line(order_id, given.sku, given.line)
        if known is not None and wants == ANYTHING:
            wants = known.wants
        return NaiveLine(order_id, given.sku, given.qty, wants, line=given.line)

    def place(self, line: NaiveLine, batch: NaiveBatch | None) -> None:
        line.batch = batch
        if batch is None:
            self.raise_line_event("out_of_stock.v1", line)
            self.raise_line_event("line_backordered.v1", line)
            return
        self.placements += 1
        line.came = self.placements
        if line.held_until:
            held_until = line.held_until.isoformat().replace("+00:00", "Z")
            self.raise_line_event("line_held.v1", line, batch_ref=batch.ref, held_until=held_until)
        else:
            self.raise_line_event("line_allocated.v1", line, batch_ref=batch.ref)

    def serve_queue(self, sku: str) -> None:
        for line in self.in_queue_order(self.lines):
            if line.sku == sku and line.batch is None and (batch := self.best(line)):
                self.place(line, batch)

    def end_hold(self, line: NaiveLine, batch: NaiveBatch | None, reason: str) -> None:
        self.lines.remove(line)
        self.raise_line_event("hold_released.v1", line, batch_ref=batch.ref if batch else None, reason=reason)

    def let_time_pass(self, sku: str) -> None:
        """End the holds of the SKU whose time is over, the first to end first; then the queue has its turn.

        Goods may have expired since something happened to the SKU.
        """
        before = self.stock(sku, self.days.get(sku))
        self.days[sku] = self.today
        self._expire_holds(sku)
        self.raise_level_events(before, self.stock(sku))

    def _expire_holds(self, sku: str) -> None:
        held = [(line.held_until, line.came, line) for line in self.lines if line.sku == sku and line.held_until]
        over = [
            line for held_until, _, line in sorted(held, key=lambda each: each[:2]) if held_until <= self.time_of(sku)
        ]
        if not over:
            return
        self.used[sku] = self.time_of(sku)
        for line in over:
            self.end_hold(line, line.batch, "expired")
        self.serve_queue(sku)
