"""What a client owns: order lines, orders and batches, as it has requested them."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class OwnLine:
    """An order line that was placed without an order."""

    order_id: str
    sku: str
    qty: int
    if_unavailable: str
    wants: dict[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> dict[str, Any]:
        """The fields of the request."""
        return {**self.names, "qty": self.qty, "if_unavailable": self.if_unavailable, **self.wants}

    @property
    def names(self) -> dict[str, Any]:
        """The identity of the line."""
        return {"order_id": self.order_id, "sku": self.sku}


@dataclass
class OwnOrder:
    """An order of several lines: pieces by SKU. `wants` is what each of its lines requires of its batch."""

    order_id: str
    lines: dict[str, int]
    if_unavailable: str
    wants: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> dict[str, Any]:
        """The fields of the request."""
        return {"order_id": self.order_id, "lines": self.line_fields, "if_unavailable": self.if_unavailable}

    @property
    def line_fields(self) -> list[dict[str, Any]]:
        """Its lines as fields of messages."""
        return [{"sku": sku, "qty": qty, **self.wants} for sku, qty in self.lines.items()]


@dataclass
class OwnBatch:
    """A batch: its first values, its present quantity, and whether it is blocked."""

    ref: str
    sku: str
    first: dict[str, Any]
    qty: int
    blocked: bool = False
