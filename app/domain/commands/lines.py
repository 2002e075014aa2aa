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
    """Change how many pieces an accepted order line asks for, in one transaction, without losing its stock."""


class CancelAllocation(_NamedLineCommand):
    """Forget an order line, and free the stock that it held."""


class ShipLine(_NamedLineCommand):
    """Note that an order line has left the house: from now on it is neither cancelled nor moved."""
