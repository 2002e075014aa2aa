"""A product rebuilt from its history: the entries of the read side, replayed from the first one on."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.read_model.history import HistoryEntry
from app.read_model.queries import ProductState

LineId = tuple[str, str]
"""Order and name of a line."""


@dataclass
class Replayed:
    """What there is after the entries so far: of each batch what it has, holds and has shipped; and the lines."""

    purchased: dict[str, int] = field(default_factory=dict)
    etas: dict[str, str | None] = field(default_factory=dict)
    lines: dict[LineId, tuple[int, str | None]] = field(default_factory=dict)
    shipped: dict[LineId, tuple[int, str | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, oldest_first: Iterable[HistoryEntry]) -> "Replayed":
        """Replay the entries; those of refusals and of stock levels change nothing."""
        replayed = cls()
        for entry in oldest_first:
            replayed._play(entry)
        return replayed

    def _play(self, entry: HistoryEntry) -> None:
        key, ref, qty = (entry.order_id or "", entry.line or ""), entry.batch_ref or "", entry.qty or 0
        match entry.event:
            case "batch_created.v1" | "batch_quantity_changed.v1" | "batch_eta_changed.v1":
                self.purchased[ref] = qty
                self.etas[ref] = str(entry.eta) if entry.eta else None
            case "line_allocated.v1" | "line_held.v1" | "line_backordered.v1":
                self.lines[key] = (qty, entry.batch_ref)
            case "line_deallocated.v1" | "hold_released.v1":
                assert self.lines.pop(key) == (qty, entry.batch_ref)
            case "line_shipped.v1":
                assert self.lines[key] == (qty, entry.batch_ref)
                self.shipped[key] = self.lines.pop(key)
            case _:
                pass

    def batches(self) -> dict[str, tuple[int, str | None, int, int]]:
        """Of each batch: pieces purchased, ETA, pieces allocated, pieces shipped."""
        return {
            ref: (qty, self.etas[ref], _pieces_of(ref, self.lines), _pieces_of(ref, self.shipped))
            for ref, qty in self.purchased.items()
        }

    @property
    def backordered_qty(self) -> int:
        """Pieces that wait for stock."""
        return sum(qty for qty, batch in self.lines.values() if batch is None)


def batches_of(product: ProductState) -> dict[str, tuple[int, str | None, int, int]]:
    """The same of a product as the read side shows it."""
    return {
        batch.ref: (batch.qty, str(batch.eta) if batch.eta else None, batch.allocated_qty, batch.shipped_qty)
        for batch in product.batches
    }


def _pieces_of(ref: str, lines: dict[LineId, tuple[int, str | None]]) -> int:
    return sum(qty for qty, batch in lines.values() if batch == ref)
