"""Counts of stock: an inventory system knows the pieces that are in the warehouse, not those that were purchased.

The pieces *on hand* of a batch were purchased and not shipped; some of them may be allocated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from app.domain.choice import MAIN_LOCATION
from app.domain.errors import LocationRequiredError, OnHandChangedError, QuantityTooLargeError
from app.domain.events import StockReason
from app.domain.limits import MAX_QUANTITY
from app.domain.product import Product
from app.domain.relocation import Relocation
from app.domain.stock import Batch, BatchTerms


def counted_qty(batch: Batch, on_hand_qty: int, shipped_qty: int | None) -> int:
    """The purchased quantity of a batch that was counted when `shipped_qty` pieces were shipped; None: as many as now.

    Raises QuantityTooLargeError.
    """
    qty = on_hand_qty + (batch.shipped_qty if shipped_qty is None else shipped_qty)
    if qty > MAX_QUANTITY:
        raise QuantityTooLargeError(batch.ref, qty)
    return qty


def location_of_count(product: Product, location: str | None) -> str:
    """The location that was counted; None: the only one with pieces on hand. Raises LocationRequiredError."""
    if location is not None:
        return location
    here = sorted({batch.location for batch in _in_warehouse(product) if _on_hand_qty(batch)})
    if len(here) > 1:
        raise LocationRequiredError(product.sku, here)
    latest = _in_warehouse(product)
    return here[0] if here else latest[0].location if latest else MAIN_LOCATION


def on_hand_qty_of(product: Product, location: str) -> int:
    """The pieces on hand of the batches in the location. Those that have any must be in memory."""
    return sum(_on_hand_qty(batch) for batch in _in_warehouse(product, location))


def check_on_hand(product: Product, location: str, on_hand_qty: int, expected_qty: int | None) -> None:
    """Raise OnHandChangedError where the sum is not the expected one. The new sum itself passes."""
    present_qty = on_hand_qty_of(product, location)
    if expected_qty is not None and present_qty not in {expected_qty, on_hand_qty}:
        raise OnHandChangedError(product.sku, expected_qty, present_qty)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What a count changes: the new quantities of batches, and the quantity of a new batch; 0: no new batch."""

    location: str
    quantities: Sequence[tuple[Batch, int]] = field(default=())
    new_batch_qty: int = 0

    @classmethod
    def of_count(cls, product: Product, location: str, on_hand_qty: int) -> "Adjustment":
        """The adjustment after which `on_hand_qty` pieces are on hand in the location.

        Pieces found in addition are added to the batch recorded last. Pieces that were not found are removed from the
        batches recorded last: free ones first, then allocated ones. The batches in the warehouse that have pieces
        on hand must be in memory, and the one recorded last.
        """
        latest = _in_warehouse(product, location)
        found = on_hand_qty - on_hand_qty_of(product, location)
        if found < 0:
            return cls(location, _cut(latest, -found))
        if found == 0:
            return cls(location)
        if latest and latest[0].qty + found <= MAX_QUANTITY:
            return cls(location, [(latest[0], latest[0].qty + found)])
        return cls(location, new_batch_qty=found)

    def apply(self, product: Product, new_ref: str, reason: StockReason | None, reference: str | None) -> Relocation:
        """Change the quantities, and record the new batch under `new_ref`.

        The relocation that is returned places the lines that were released; the caller must run it to its end. The
        lines that a cut releases must be in memory.
        """
        if self.new_batch_qty:
            product.create_batch(new_ref, self.new_batch_qty, None, BatchTerms(self.location))
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


def _in_warehouse(product: Product, location: str | None = None) -> list[Batch]:
    """The batches that have arrived, in this location or in all of them, the one recorded last first."""
    arrived = (batch for batch in product.batches.values() if batch.eta is None)
    batches = (batch for batch in arrived if location in {None, batch.location})
    return sorted(batches, key=attrgetter("number"), reverse=True)


def _on_hand_qty(batch: Batch) -> int:
    return batch.qty - batch.shipped_qty
