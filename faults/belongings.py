"""What a client calls its own: order lines, orders and batches, as it has asked for them."""

from dataclasses import dataclass
from typing import Any


@dataclass
class OwnLine:
    """An order line that was placed by itself."""

    order_id: str
    sku: str
    qty: int
    if_unavailable: str

    @property
    def order(self) -> dict[str, Any]:
        """What is asked for."""
        return {**self.names, "qty": self.qty, "if_unavailable": self.if_unavailable}

    @property
    def names(self) -> dict[str, Any]:
        """Which line it is."""
        return {"order_id": self.order_id, "sku": self.sku}


@dataclass
class OwnOrder:
    """An order of several lines: pieces by SKU."""

    order_id: str
    lines: dict[str, int]
    if_unavailable: str

    @property
    def data(self) -> dict[str, Any]:
        """What is asked for."""
        return {"order_id": self.order_id, "lines": self.told_lines, "if_unavailable": self.if_unavailable}

    @property
    def told_lines(self) -> list[dict[str, Any]]:
        """Its lines as messages tell them."""
        return [{"sku": sku, "qty": qty} for sku, qty in self.lines.items()]


@dataclass
class OwnBatch:
    """A batch: as it was recorded first, and how much is in it now."""

    ref: str
    sku: str
    first: dict[str, Any]
    qty: int
