"""Commands about one order line."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from app.domain.commands.base import Command
from app.domain.commands.terms import LineRequirements, PlacementTerms
from app.domain.fields import LineName, LineQuantity, OrderId, Sku, drop_default
from app.domain.stock import line_key


class _NamedLineCommand(Command):
    order_id: OrderId
    sku: Sku
    line: LineName = Field(default="", json_schema_extra=drop_default)

    @property
    def key(self) -> str:
        """See `line_key`."""
        return line_key(self.order_id, self.line)

    @property
    def routing_key(self) -> str:
        return self.sku


class _OrderedLineCommand(_NamedLineCommand):
    qty: LineQuantity


class Allocate(LineRequirements, PlacementTerms, _OrderedLineCommand):
    """Allocate an order line to one batch, for good or with `hold_for` for a limited time."""

    needs_all_holds_ended: ClassVar[bool] = False


class LineChanges(BaseModel):
    """Changes of an order line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    qty: LineQuantity


class ChangeLineQuantity(LineChanges, _NamedLineCommand):
    """Change the quantity of an accepted order line in one transaction, without losing its stock."""


class CancelAllocation(_NamedLineCommand):
    """Remove an order line, and release the stock that it held."""

    needs_all_holds_ended: ClassVar[bool] = False


class ShipLine(_NamedLineCommand):
    """Mark an order line as shipped. It can no longer be cancelled or moved."""

    needs_all_holds_ended: ClassVar[bool] = False
