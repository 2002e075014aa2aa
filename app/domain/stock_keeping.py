"""The changes of the batches of a product."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from app.domain import errors, events
from app.domain.events import StockReason
from app.domain.placement import Placement
from app.domain.relocation import Relocation, last_allocated
from app.domain.stock import PLAIN_TERMS, Allocation, Batch, BatchTerms


@dataclass(slots=True, eq=False)
class StockKeeping(Placement):
    """Records batches, and changes them."""

    def create_batch(self, ref: str, qty: int, eta: date | None, terms: BatchTerms = PLAIN_TERMS) -> tuple[Batch, bool]:
        """Record a batch; the flag is True where it is new. Raises BatchConflictError."""
        known = self.batches.get(ref)
        if known is not None:
            if (known.first_qty, known.first_eta, known.first_terms) != (qty, eta, terms):
                raise errors.BatchConflictError(ref)
            return known, False
        facts = {"location": terms.location, "best_before": terms.best_before, "blocked": terms.is_blocked}
        number = self._raise(events.BatchCreated, ref=ref, qty=qty, eta=eta, **facts)
        batch = Batch(number, ref, qty, eta, first_qty=qty, first_eta=eta, first_terms=terms)
        self._set_terms(batch, terms)
        return self.batches.add(batch), True

    def change_terms(self, ref: str, terms: BatchTerms) -> bool:
        """Set location, best-before day and blocking of a batch. Returns whether they differ from those before.

        The lines of the batch stay on it, also where it is blocked now or has expired. Raises BatchNotFoundError.
        """
        batch = self.batches.find(ref)
        if batch.terms == terms:
            return False
        self._set_terms(batch, terms)
        self.batches.reorder()
        facts = {"location": terms.location, "best_before": terms.best_before, "blocked": terms.is_blocked}
        self._raise(events.BatchTermsChanged, ref=ref, qty=batch.qty, eta=batch.eta, **facts)
        return True

    def transfer(self, ref: str, qty: int, new_ref: str, location: str, eta: date | None) -> Relocation:
        """Split a batch: the new one, in another location, has the shelf life and blocking of the old one.

        Lines that no longer fit on the old batch go along, unless another batch serves them earlier. They must be in
        memory, and the caller must run the relocation to its end. Raises BatchNotFoundError, BelowShippedError.
        """
        batch = self.batches.find(ref)
        released = self.resize_batch(ref, batch.qty - qty, None, new_ref)
        new, _ = self.create_batch(new_ref, qty, eta, replace(batch.terms, location=location))
        return Relocation.of_released(self, released, "batch_transferred", along=new)

    def _set_terms(self, batch: Batch, terms: BatchTerms) -> None:
        batch.location, batch.best_before, batch.is_blocked = terms.location, terms.best_before, terms.is_blocked
        self._judge(batch)

    def empty_batch(self, ref: str) -> Relocation:
        """Move all lines off a blocked batch, oldest request first. The lines must be in memory.

        The caller must run the relocation to its end. Raises BatchNotFoundError.
        """
        batch = self.batches.find(ref)
        released = list(last_allocated(self.allocations.values(), batch, batch.allocated_qty))
        return Relocation.of_released(self, released, "batch_blocked")

    def change_eta(self, ref: str, eta: date | None, order_ids: Sequence[str] = ()) -> bool:
        """Set when a batch arrives. Returns whether the batch is late: less preferred than before.

        `order_ids` are some orders that have a line on the batch; the event names them. Raises BatchNotFoundError.
        """
        batch = self.batches.find(ref)
        before = batch.preference
        if batch.eta == eta:
            return False
        batch.eta = eta
        self.batches.reorder()
        lines = {"order_ids": tuple(order_ids), "order_count": batch.allocated_lines}
        self._raise(events.BatchEtaChanged, ref=ref, qty=batch.qty, eta=eta, **lines)
        return batch.preference > before

    def check_quantity(self, ref: str, qty: int, expected_qty: int | None = None) -> None:
        """Check that `change_quantity` is possible. A batch that has this quantity already passes.

        Raises BatchNotFoundError, QuantityChangedError where the quantity is not the expected one, BelowShippedError.
        """
        batch = self.batches.find(ref)
        if expected_qty is not None and batch.qty not in {expected_qty, qty}:
            raise errors.QuantityChangedError(ref, expected_qty, batch.qty)
        if qty < batch.shipped_qty:
            raise errors.BelowShippedError(ref, batch.shipped_qty)

    def change_quantity(self, ref: str, qty: int, reason: StockReason | None, reference: str | None) -> Relocation:
        """Resize a batch, and move the lines that no longer fit, oldest request first, as `empty_batch` does.

        Raises what `check_quantity` raises.
        """
        released = self.resize_batch(ref, qty, reason, reference)
        return Relocation.of_released(self, released, "batch_quantity_changed")

    def resize_batch(
        self, ref: str, qty: int, reason: StockReason | None, reference: str | None
    ) -> Sequence[Allocation]:
        """Set the quantity of a batch. Returns the lines that no longer fit: holds first, and the last one first.

        The caller must relocate them. The lines of the batch that were allocated last must be in memory, as many as the
        cut needs. Raises what `check_quantity` raises.
        """
        self.check_quantity(ref, qty)
        batch = self.batches.find(ref)
        if batch.qty == qty:
            return ()
        overrun = batch.allocated_qty + batch.shipped_qty - qty
        released = list(last_allocated(self.allocations.values(), batch, overrun))
        batch.qty = qty
        self._raise(events.BatchQuantityChanged, ref=ref, qty=qty, eta=batch.eta, reason=reason, reference=reference)
        return released
