"""Commands about one order line."""

from pydantic import BaseModel, ConfigDict

from app.domain.commands.base import Command
from app.domain.fields import IfUnavailable, LineQuantity, OrderId, Sku


class _NamedLineCommand(Command):
    order_id: OrderId
    sku: Sku

    @property
    def routing_key(self) -> str:
        return self.sku


class Allocate(_NamedLineCommand):
    """Allocate an order line to one batch."""

    qty: LineQuantity
    if_unavailable: IfUnavailable = "backorder"


class LineChanges(BaseModel):
    """Changes of an order line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    qty: LineQuantity


class ChangeLineQuantity(LineChanges, _NamedLineCommand):
    """Change the quantity of an accepted order line in one transaction, without losing its stock."""


class CancelAllocation(_NamedLineCommand):
    """Remove an order line, and release the stock that it held."""


class ShipLine(_NamedLineCommand):
    """Mark an order line as shipped. It can no longer be cancelled or moved."""
