"""One product in memory, driven as the handlers drive it: whatever frees or adds stock serves the queue."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

from app.domain import events
from app.domain.choice import ANY_BATCH, Requirements
from app.domain.counts import Adjustment, check_on_hand, location_of_count
from app.domain.events import StockReason
from app.domain.product import Product
from app.domain.relocation import Move, Relocation, reserve_sooner
from app.domain.stock import PLAIN_TERMS, Allocation, Batch, BatchTerms, OrderLine, split_line_key

SKU = "RED-CHAIR"


class Shop:
    """One product with all of its batches and lines in memory, so that tests of the rules need no database."""

    def __init__(self, sku: str = SKU) -> None:
        self.product = Product(sku)

    def begin(self, now: datetime) -> None:
        """Begin a unit of work at that time: the holds whose time is over end."""
        product = self.product
        product.set_time(now, now.date())
        if not product.has_overdue_holds:
            return
        held = [each for each in product.allocations.values() if each.held_until is not None]
        held.sort(key=lambda each: (each.held_until, each.allocated_sequence))
        over = [each for each in held if each.held_until is not None and each.held_until <= product.now]
        left = [each.held_until for each in held if each not in over]
        product.expire_holds([each.line.key for each in over], left[0] if left else None)
        self._serve()

    def batch(self, ref: str, qty: int, eta: date | None = None, terms: BatchTerms = PLAIN_TERMS) -> Batch:
        batch, created = self.product.create_batch(ref, qty, eta, terms)
        if created:
            self._serve()
        return batch

    def order(
        self,
        order_id: str,
        qty: int,
        if_unavailable: Literal["backorder", "reject"] = "backorder",
        requirements: Requirements = ANY_BATCH,
    ) -> Allocation:
        return self.product.allocate(self._line(order_id, qty, requirements), if_unavailable)[0]

    def _line(self, key: str, qty: int, requirements: Requirements) -> OrderLine:
        order_id, name = split_line_key(key)
        return OrderLine(order_id, self.product.sku, qty, requirements, name)

    def hold(self, order_id: str, qty: int, seconds: int, requirements: Requirements = ANY_BATCH) -> Allocation:
        """Hold a line; one that is accepted already does not change."""
        line, product = self._line(order_id, qty, requirements), self.product
        return product.allocate(line, "backorder", product.end_of_hold(seconds))[0]

    def hold_anew(self, order_id: str, qty: int, seconds: int) -> Allocation:
        """Hold a line from now on, whatever its hold was before."""
        line, product = OrderLine(order_id, self.product.sku, qty), self.product
        allocation = product.hold(line, product.end_of_hold(seconds))
        self._serve()
        return allocation

    def cancel(self, order_id: str) -> None:
        self.product.cancel(order_id)
        self._serve()

    def resize(self, order_id: str, qty: int) -> Allocation:
        """Change the quantity of a line."""
        allocation = self.product.change_line_quantity(order_id, qty)
        self._serve()
        return allocation

    def cut(self, ref: str, qty: int) -> list[Move]:
        """Set the purchased quantity, larger or smaller."""
        return self.change(ref, qty, self.product.batches.find(ref).eta)

    def change(
        self,
        ref: str,
        qty: int,
        eta: date | None,
        *,
        reallocate: bool = False,
        reason: StockReason | None = None,
        terms: BatchTerms | None = None,
    ) -> list[Move]:
        product, batch = self.product, self.product.batches.find(ref)
        product.check_quantity(ref, qty)
        product.change_terms(ref, terms or batch.terms)
        held = [each for each in product.allocations.values() if each.batch is batch and each.shipped_sequence is None]
        firm = [each for each in held if not each.is_held]
        first = sorted(firm, key=lambda each: each.allocated_sequence or 0)
        is_late = product.change_eta(ref, eta, list(dict.fromkeys(each.line.order_id for each in first)))
        moves: list[Move] = []
        if reallocate and batch.is_blocked:
            moves += product.empty_batch(ref).run()
        elif reallocate and is_late:
            oldest = sorted(held, key=lambda each: each.requested_sequence)
            targets = reserve_sooner(product.batches, batch, oldest)
            moves += Relocation.to_targets(product, targets, "batch_eta_changed").run()
        moves += product.change_quantity(ref, qty, reason, None).run()
        moves.sort(key=lambda move: move.requested_sequence)
        self._serve()
        return moves

    def count(
        self,
        on_hand_qty: int,
        expected_qty: int | None,
        new_ref: str,
        reason: StockReason | None = None,
        location: str | None = None,
    ) -> list[Move]:
        """Set the pieces on hand."""
        counted = location_of_count(self.product, location)
        check_on_hand(self.product, counted, on_hand_qty, expected_qty)
        adjustment = Adjustment.of_count(self.product, counted, on_hand_qty)
        moves = adjustment.apply(self.product, new_ref, reason, None).run()
        self._serve()
        return moves

    def watch(self, qty: int) -> None:
        """Set the reorder point."""
        self.product.set_reorder_point(qty)

    def ship(self, order_id: str) -> Allocation:
        return self.product.ship(order_id)

    def where(self, order_id: str) -> str | None:
        """The ref of the batch that serves the order; None while it waits."""
        batch = self.product.allocations[order_id].batch
        return batch.ref if batch else None

    def available(self) -> dict[str, int]:
        return {batch.ref: batch.available_qty for batch in self.product.batches.by_preference()}

    def story(self) -> list[str]:
        """The events since the last look, one line each."""
        return story(self.product.take_events())

    def forget_story(self) -> None:
        self.product.take_events()

    def snapshot(self) -> object:
        """Everything that a refused command must leave as it was."""
        product = self.product
        return (
            product.backordered_qty,
            product.reorder_point,
            product.held_qty,
            [tuple(getattr(batch, name) for name in Batch.__slots__) for batch in product.batches.by_preference()],
            {
                order_id: (
                    held.line,
                    held.requested_sequence,
                    held.allocated_sequence,
                    held.shipped_sequence,
                    held.batch.ref if held.batch else None,
                    held.held_until,
                )
                for order_id, held in product.allocations.items()
            },
        )

    def _serve(self) -> None:
        waiting = [held for held in self.product.allocations.values() if held.batch is None]
        waiting.sort(key=lambda held: held.place_in_queue)
        self.product.serve_backorders([held.line.key for held in waiting])


def moved(moves: Sequence[Move]) -> list[tuple[str, str, str | None]]:
    """Moves as (order, from, to)."""
    return [(move.line.order_id, move.from_batch.ref, move.to_batch.ref if move.to_batch else None) for move in moves]


def story(occurred: Sequence[events.Event]) -> list[str]:
    """Events as sentences, each with its sequence in front."""
    return [f"{event.sequence} {_sentence(event)}" for event in occurred]


def _sentence(event: events.Event) -> str:
    match event:
        case events.LineHeld() | events.HoldReleased():
            return f"{type(event).__name__} {event.order_id}: {event.qty} from {event.batch_ref}, {_end(event)}"
        case (
            events.BatchCreated()
            | events.BatchTermsChanged()
            | events.BatchQuantityChanged()
            | events.BatchEtaChanged()
        ):
            return f"{type(event).__name__} {event.ref}: {event.qty}, {event.eta or 'warehouse'}"
        case events.LineAllocated() | events.LineShipped():
            return f"{type(event).__name__} {event.order_id}: {event.qty} from {event.batch_ref}"
        case events.LineDeallocated():
            why = event.reason if event.new_qty is None else f"now {event.new_qty}"
            return f"LineDeallocated {event.order_id}: {event.qty} from {event.batch_ref or 'queue'}, {why}"
        case events.LineBackordered() | events.OutOfStock() | events.AllocationFailed():
            why = f", {event.reason}" if isinstance(event, events.AllocationFailed) else ""
            return f"{type(event).__name__} {event.order_id}: {event.qty}{why}"
        case events.LowStock() | events.BackInStock():
            return f"{type(event).__name__}: {event.available_qty}"
        case _:
            raise TypeError(type(event).__name__)


def _end(event: events.LineHeld | events.HoldReleased) -> str:
    return f"until {event.held_until:%H:%M:%S}" if isinstance(event, events.LineHeld) else event.reason
