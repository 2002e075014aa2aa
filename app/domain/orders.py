"""An order of several lines: what was asked for together."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from app.domain.stock import OrderLine


@dataclass(frozen=True, slots=True)
class Order:
    """Lines that were placed together, each of another SKU, in the order of the SKUs.

    Stock is not decided here: each line belongs to the product of its SKU. The order knows what it is made of, so that
    the same order again can be told from another one with the same id.
    """

    order_id: str
    lines: tuple[OrderLine, ...]

    @classmethod
    def of(cls, order_id: str, wanted: Iterable[tuple[str, int]]) -> Self:
        """The order of so many pieces of each of these SKUs."""
        return cls(order_id, tuple(OrderLine(order_id, sku, qty) for sku, qty in sorted(wanted)))

    @property
    def content(self) -> bytes:
        """A digest of the lines: the same for the same order, whatever has become of its lines."""
        lines = [[line.sku, line.qty] for line in self.lines]
        return hashlib.sha256(json.dumps(lines, separators=(",", ":")).encode()).digest()
