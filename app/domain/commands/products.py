"""Commands about a product as a whole."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from app.domain.choice import HIGHEST_PRIORITY
from app.domain.commands.base import Command
from app.domain.commands.batches import WhyStockChanged
from app.domain.fields import LEFT_OUT, EntityTags, Location, NewQuantity, OnHandQuantity, Sku, drop_default


class _NamedProductCommand(Command):
    sku: Sku

    @property
    def routing_key(self) -> str:
        return self.sku


class ServeBackorders(_NamedProductCommand):
    """Allocate available stock to waiting lines. Reconciliation sends it; other commands serve the queue already."""


class ExpireHolds(_NamedProductCommand):
    """End the overdue holds of a product, and let its batches expire.

    Each unit of work begins with this, so the command does nothing else.
    """

    needs_all_holds_ended: ClassVar[bool] = False


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


class Redistribution(BaseModel):
    """Whose stock may be given to whom: that of lines below a priority to waiting lines of this or a higher one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    below: Annotated[
        int,
        Field(
            strict=True,
            ge=1,
            le=HIGHEST_PRIORITY,
            description="Lines with a lower priority give stock to waiting lines with this or a higher priority.",
            examples=[5],
        ),
    ]


class Redistribute(Redistribution, _NamedProductCommand):
    """Give stock of lines below a priority to waiting lines of this or a higher priority."""


class RedistributionOrDryRun(Redistribution):
    """A redistribution, or a dry run of it."""

    dry_run: Annotated[
        bool,
        Field(strict=True, description="true: return the outcome without storing anything.", examples=[True]),
    ] = False


class OnHandCount(WhyStockChanged):
    """The pieces of a product that were counted in the warehouse."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_hand_qty: OnHandQuantity
    location: Annotated[
        Location,
        Field(
            title="CountedLocation",
            description="The location that was counted. Required if the product has pieces in several locations.",
        ),
    ] = Field(default=LEFT_OUT, json_schema_extra=drop_default)
    expected_on_hand_qty: Annotated[
        NewQuantity,
        Field(
            description="The expected current sum. If it differs, the count is refused and nothing changes.",
            examples=[25],
        ),
    ] = Field(default=LEFT_OUT, json_schema_extra=drop_default)


class CountProduct(OnHandCount, _NamedProductCommand):
    """Set the sum of the pieces on hand over the batches of a product that are in the warehouse.

    Pieces that were not found are removed from the batches recorded last. Others are added to the batch recorded last,
    or to a new batch whose ref the service generates.
    """


class CountProductIfMatch(CountProduct):
    """Count a product where it is as the caller has seen it. A product that does not exist is refused."""

    if_match: EntityTags
