"""Counts of stock: an inventory system knows the pieces that are in the warehouse, not those that were purchased.

The pieces *on hand* of a batch were purchased and not shipped; some of them may be allocated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from app.domain.errors import OnHandChangedError, QuantityTooLargeError
from app.domain.events import StockReason
from app.domain.limits import MAX_QUANTITY
from app.domain.product import Product
from app.domain.relocation import Relocation
from app.domain.stock import Batch


def counted_qty(batch: Batch, on_hand_qty: int, shipped_qty: int | None) -> int:
    """The purchased quantity of a batch that was counted when `shipped_qty` pieces were shipped; None: as many as now.

    Raises QuantityTooLargeError.
    """
    qty = on_hand_qty + (batch.shipped_qty if shipped_qty is None else shipped_qty)
    if qty > MAX_QUANTITY:
        raise QuantityTooLargeError(batch.ref, qty)
    return qty


def on_hand_qty_of(product: Product) -> int:
    """The pieces on hand of the batches in the warehouse. Those that have any must be in memory."""
    return sum(_on_hand_qty(batch) for batch in _in_warehouse(product))


def check_on_hand(product: Product, on_hand_qty: int, expected_qty: int | None) -> None:
    """Raise OnHandChangedError where the sum is not the expected one. The new sum itself passes."""
    present_qty = on_hand_qty_of(product)
    if expected_qty is not None and present_qty not in {expected_qty, on_hand_qty}:
        raise OnHandChangedError(product.sku, expected_qty, present_qty)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What a count changes: the new quantities of batches, and the quantity of a new batch; 0: no new batch."""

    quantities: Sequence[tuple[Batch, int]] = field(default=())
    new_batch_qty: int = 0

    @classmethod
    def of_count(cls, product: Product, on_hand_qty: int) -> "Adjustment":
        """The adjustment after which `on_hand_qty` pieces are on hand.

        Pieces found in addition are added to the batch recorded last. Pieces that were not found are removed from the
        batches recorded last: free ones first, then allocated ones. The batches in the warehouse that have pieces
        on hand must be in memory, and the one recorded last.
        """
        latest = _in_warehouse(product)
        found = on_hand_qty - on_hand_qty_of(product)
        if found < 0:
            return cls(_cut(latest, -found))
        if found == 0:
            return cls()
        if latest and latest[0].qty + found <= MAX_QUANTITY:
            return cls([(latest[0], latest[0].qty + found)])
        return cls(new_batch_qty=found)

    def apply(self, product: Product, new_ref: str, reason: StockReason | None, reference: str | None) -> Relocation:
        """Change the quantities, and record the new batch under `new_ref`.

        The relocation that is returned places the lines that were released; the caller must run it to its end. The
        lines that a cut releases must be in memory.
        """
        if self.new_batch_qty:
            product.create_batch(new_ref, self.new_batch_qty, None)
        # All batches are cut before the first line is placed, so no line moves twice.
        released = [
            allocation
            for batch, qty in self.quantities
            for allocation in product.resize_batch(batch.ref, qty, reason, reference)
        ]
        return Relocation.of_released(product, released, "batch_quantity_changed")


def _cut(batches: Sequence[Batch], lost: int) -> list[tuple[Batch, int]]:
    """The new quantities of the batches that `lost` pieces are removed from, at most what they have on hand."""
    new = {batch: batch.qty for batch in batches}
    for pieces in (attrgetter("free_qty"), attrgetter("allocated_qty")):
        for batch in batches:
            removed = min(pieces(batch), lost)
            new[batch] -= removed
            lost -= removed
    return [(batch, qty) for batch, qty in new.items() if qty != batch.qty]


def _in_warehouse(product: Product) -> list[Batch]:
    """The batches in the warehouse, the one recorded last first."""
    batches = (batch for batch in product.batches.values() if batch.eta is None)
    return sorted(batches, key=attrgetter("number"), reverse=True)


def _on_hand_qty(batch: Batch) -> int:
    return batch.qty - batch.shipped_qty
