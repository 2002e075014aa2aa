"""The naive rules of orders of several lines."""

from dataclasses import replace
from datetime import timedelta

from app.domain.commands import CancelOrder, HoldOrder, PlaceOrder
from app.service_layer.results import OrderAccepted, OrderState
from tests.support.naive_lines import NaiveLines
from tests.support.naive_state import NaiveLine, NaiveOrder, Refusal


class NaiveOrders(NaiveLines):
    """What commands do with orders."""

    def place_order(self, command: PlaceOrder) -> OrderAccepted:
        order_id, is_hold = command.order_id, command.hold_seconds is not None
        lines = self._lines_of(command)
        wanted = [(line.id, line.qty) for line in lines]
        present = self.lines_of(order_id)
        if present:
            placed = self._placed(order_id, present)
            known = [(line.id, qty) for line, qty in placed.lines]
            is_confirmation = placed.is_held and not is_hold
            if known != wanted or any(self._differs(line, also_in_qty=is_confirmation) for line in lines):
                self._refuse_conflict(order_id, lines, is_hold=is_hold)
            if not is_confirmation:
                self.placed[order_id] = placed
                return OrderAccepted(self.order(order_id), changed=False)
        self._check_skus(order_id, lines, is_hold=is_hold)
        if is_hold or command.if_unavailable == "reject":
            self._check_stock(order_id, lines, [], is_hold=is_hold)
        if command.hold_seconds is None:
            firm = [self.make_firm(line, "backorder") for line in lines]
            self.raise_order_event("order_placed.v1", order_id, lines)
            lines = firm
        else:
            self._hold(lines, command.hold_seconds)
        self.placed[order_id] = NaiveOrder([(line, line.qty) for line in lines], is_hold)
        return OrderAccepted(self.order(order_id), changed=True)

    def hold_order(self, command: HoldOrder) -> OrderState:
        order_id = command.order_id
        present = self.lines_of(order_id)
        held = [line for line in present if line.held_until]
        if present and not held:
            raise Refusal("not-held")
        if not command.lines:
            if not held:
                raise Refusal("order-not-found")
            self._hold([replace(line) for line in held], command.hold_for)
            return self.order(order_id)
        lines = self._lines_of(command)
        if any(line.id in {each.id for each in lines} for line in present if line not in held):
            raise Refusal("not-held")
        self._check_skus(order_id, lines, is_hold=True)
        leaving = [line for line in held if line.id not in {each.id for each in lines}]
        self._check_stock(order_id, lines, leaving, is_hold=True)
        for line in leaving:
            self.end_hold(line, line.batch, "replaced")
        self._hold(lines, command.hold_for)
        for line in leaving:
            self.serve_queue(line.sku)
        self.placed[order_id] = NaiveOrder([(line, line.qty) for line in self.lines_of(order_id)], is_held=True)
        return self.order(order_id)

    def cancel_order(self, command: CancelOrder) -> None:
        order_id = command.order_id
        present = self.lines_of(order_id)
        if not present:
            raise Refusal("order-not-found")
        unshipped = [line for line in present if not line.shipped]
        firm = [line for line in unshipped if not line.held_until]
        for line in unshipped:
            self.remove(line)
        for line in unshipped:
            self.serve_queue(line.sku)
        if firm:
            self.raise_order_event("order_cancelled.v1", order_id, firm)
        if len(unshipped) == len(present):
            self.placed.pop(order_id, None)

    def order(self, order_id: str) -> OrderState:
        return OrderState.of(order_id, self.allocations(order_id))

    # --- inside ----------------------------------------------------------------------------------------------------

    def _hold(self, lines: list[NaiveLine], seconds: int) -> None:
        """Hold the lines, all until the same moment."""
        end = max(self.time_of(line.sku) for line in lines) + timedelta(seconds=seconds)
        for line in lines:
            known = self.find_line(line.order_id, *line.id)
            self.used[line.sku] = self.time_of(line.sku)
            if known is None:
                self.begin_hold(line, end)
            elif (known.qty, known.wants) != (line.qty, line.wants):
                self.resize(known, line, end)
            elif known.held_until != end:
                came, known.held_until = known.came, end
                self.place(known, known.batch)
                known.came = came
        for line in lines:
            self.serve_queue(line.sku)

    def _placed(self, order_id: str, present: list[NaiveLine]) -> NaiveOrder:
        """What was placed, with the quantities of now; where nothing of it is left, the lines of now."""
        placed = self.placed.get(order_id)
        if placed is None or not any(line in present for line, _ in placed.lines):
            placed = NaiveOrder([(line, line.qty) for line in present], is_held=False)
        lines = [(line, line.qty if line in present else qty) for line, qty in placed.lines]
        is_held = any(line in present and line.held_until for line, _ in lines)
        return NaiveOrder(lines, placed.is_held or is_held)

    def _lines_of(self, command: PlaceOrder | HoldOrder) -> list[NaiveLine]:
        lines = [self.line_of(command.order_id, line) for line in command.lines]
        return sorted(lines, key=lambda line: line.id)

    def _differs(self, wanted: NaiveLine, *, also_in_qty: bool) -> bool:
        """Whether the order has the SKU with other wishes.

        Or with another quantity: the line was placed again after its hold had ended.
        """
        line = self.find_line(wanted.order_id, *wanted.id)
        return line is not None and (line.wants != wanted.wants or (also_in_qty and line.qty != wanted.qty))

    def _refuse_conflict(self, order_id: str, lines: list[NaiveLine], *, is_hold: bool) -> None:
        if is_hold:
            for line in lines:
                self.raise_line_event("allocation_failed.v1", line, reason="conflict")
        else:
            self.raise_order_event("order_refused.v1", order_id, lines, reason="conflict")
        raise Refusal("order-conflict")

    def _check_skus(self, order_id: str, lines: list[NaiveLine], *, is_hold: bool) -> None:
        unknown = [line for line in lines if not self.preferred(line.sku)]
        for line in unknown:
            self.raise_line_event("allocation_failed.v1", line, reason="invalid_sku")
        self._refuse_order(order_id, unknown, "invalid_sku", is_hold=is_hold)

    def _check_stock(self, order_id: str, lines: list[NaiveLine], leaving: list[NaiveLine], *, is_hold: bool) -> None:
        """The lines are placed for a try, and everything is put back as it was."""
        before = [(line, line.batch, line.qty) for line in self.lines]
        for line in leaving:
            line.batch = None
        short = []
        for line in lines:
            own = self.find_line(line.order_id, *line.id)
            batch = own.batch if own is not None and self.stays(own, line) else self.best(line)
            if batch is None:
                short.append(line)
            elif own is None:
                self.lines.append(replace(line, batch=batch))
            else:
                own.batch, own.qty = batch, line.qty
        self.lines = [line for line, _, _ in before]
        for line, batch, qty in before:
            line.batch, line.qty = batch, qty
        for line in short:
            if not is_hold:
                self.raise_line_event("out_of_stock.v1", line)
            self.raise_line_event("allocation_failed.v1", line, reason="out_of_stock")
        self._refuse_order(order_id, short, "out_of_stock", is_hold=is_hold)

    def _refuse_order(self, order_id: str, lines: list[NaiveLine], reason: str, *, is_hold: bool) -> None:
        if lines and not is_hold:
            self.raise_order_event("order_refused.v1", order_id, lines, reason=reason)
        if lines:
            raise Refusal(reason.replace("_", "-"))
