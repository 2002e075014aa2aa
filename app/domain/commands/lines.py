"""Commands about one order line."""

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.domain.commands.base import Command
from app.domain.fields import (
    HOLD_NEVER_WAITS,
    LEFT_OUT,
    HoldFor,
    IfUnavailable,
    LineQuantity,
    OrderId,
    Sku,
    drop_default,
    refuse_backorder_of_hold,
)


class _NamedLineCommand(Command):
    order_id: OrderId
    sku: Sku

    @property
    def routing_key(self) -> str:
        return self.sku


class Allocate(_NamedLineCommand):
    """Allocate an order line to one batch, for good or with `hold_for` for a limited time."""

    model_config = ConfigDict(json_schema_extra=HOLD_NEVER_WAITS)

    needs_all_holds_ended: ClassVar[bool] = False

    qty: LineQuantity
    if_unavailable: IfUnavailable = "backorder"
    hold_for: HoldFor = Field(default=LEFT_OUT, json_schema_extra=drop_default)

    @property
    def hold_seconds(self) -> int | None:
        """How long the stock is held; None: the line is firm."""
        return self.hold_for

    @model_validator(mode="after")
    def _refuse_backorder_of_hold(self) -> Self:
        refuse_backorder_of_hold(self.model_fields_set, self.if_unavailable)
        return self


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
