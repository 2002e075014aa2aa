"""Commands about a product as a whole."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.domain.commands.base import Command
from app.domain.fields import EntityTags, NewQuantity, Sku


class _NamedProductCommand(Command):
    sku: Sku

    @property
    def routing_key(self) -> str:
        return self.sku


class ServeBackorders(_NamedProductCommand):
    """Allocate available stock to waiting lines. Reconciliation sends it; other commands serve the queue already."""


class ReorderPoint(BaseModel):
    """The available quantity below which a product is low on stock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    qty: Annotated[
        NewQuantity,
        Field(description="The reorder point; 0 switches `low_stock.v1` off.", examples=[20]),
    ]


class SetReorderPoint(ReorderPoint, _NamedProductCommand):
    """Raise LowStock when fewer than `qty` pieces of a product are available; 0: never.

    With `if_match` only if the product has one of these entity tags.
    """

    if_match: EntityTags | None = None
