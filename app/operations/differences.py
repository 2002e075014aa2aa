"""What a reconciliation finds."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Kinds of differences."""

    ALLOCATED_QTY = "allocated_qty"
    HELD_QTY = "held_qty"
    BACKORDERED_QTY = "backordered_qty"
    QUEUE = "queue"
    EVENTS_BEYOND = "events_beyond"
    EVENTS_GAP = "events_gap"
    BATCH_REF = "batch_ref"


@dataclass(frozen=True, slots=True)
class Difference:
    """Data that is inconsistent, and whether it was repaired."""

    kind: Kind
    sku: str
    text: str
    repaired: bool = False

    def as_json(self) -> dict[str, Any]:
        """The difference for programs."""
        return {"kind": self.kind, "sku": self.sku, "text": self.text, "mended": self.repaired}

    @property
    def line(self) -> str:
        """The difference in one line."""
        return f"{self.kind} {self.sku}: {self.text}{' (repaired)' if self.repaired else ''}"
