"""Published events of products."""

from datetime import date, datetime
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from app.domain import events
from app.domain.choice import MAIN_LOCATION
from app.integration.fields import (
    AvailableQuantity,
    BackorderedQuantity,
    BatchBestBefore,
    BatchBlocked,
    BatchLocation,
    BatchRef,
    Eta,
    IncomingQuantity,
    LineQuantity,
    NameOfLine,
    OrderId,
    PurchasedQuantity,
    Sku,
)


class Message(BaseModel):
    """The data of a published event."""

    # CONTRIBUTING.md ("Add an event") says why later fields have defaults, and when they are left out.
    model_config = ConfigDict(
        frozen=True,
        from_attributes=True,
        json_schema_serialization_defaults_required=True,
        # Errors are logged, and logs contain no payload.
        hide_input_in_errors=True,
    )
    ce_type: ClassVar[str]


class ProductMessage(Message):
    """The data of an event of one product. The record key is the SKU."""

    sku: Sku


class LineMessage(ProductMessage):
    """The data of an event of an order line."""

    order_id: OrderId
    line: NameOfLine = ""
    qty: LineQuantity


class LineAllocatedV1(LineMessage):
    """The order line was allocated to a batch."""

    ce_type = "line_allocated.v1"
    batch_ref: BatchRef


class LineHeldV1(LineMessage):
    """A batch keeps stock for the order line until `held_until`, unless the line is confirmed before.

    Published at the hold, and again whenever the batch or the end of the hold changes. The confirmation publishes
    `line_allocated.v1`.
    """

    ce_type = "line_held.v1"
    batch_ref: BatchRef
    held_until: Annotated[
        datetime, Field(description="The end of the hold, in UTC.", examples=["2030-01-01T12:00:00Z"])
    ]


class HoldReleasedV1(LineMessage):
    """The hold of the order line ended without a confirmation."""

    ce_type = "hold_released.v1"
    batch_ref: BatchRef
    reason: Annotated[events.HoldReleaseReason, Field(description="Why it ended.", examples=["expired"])]


class LineDeallocatedV1(LineMessage):
    """The order line was deallocated from its batch, or removed from the queue of backorders.

    With `new_qty` the line is placed again: its next `line_allocated.v1` or `line_backordered.v1` has that quantity.
    """

    ce_type = "line_deallocated.v1"
    batch_ref: Annotated[
        str | None, Field(description="The previous batch; null: the line was in the queue.", examples=["batch-1"])
    ]
    reason: Annotated[events.ReleaseReason, Field(description="Why it was deallocated.", examples=["cancelled"])]
    new_qty: Annotated[
        int | None,
        Field(
            ge=1,
            description="Only if the quantity of the line was changed: the new quantity.",
            examples=[6],
            exclude_if=lambda value: value is None,
        ),
    ] = None


class LineShippedV1(LineMessage):
    """The order line was shipped."""

    ce_type = "line_shipped.v1"
    batch_ref: BatchRef


class LineBackorderedV1(LineMessage):
    """The order line was accepted and waits for stock."""

    ce_type = "line_backordered.v1"


class AllocationFailedV1(LineMessage):
    """The order line was refused. An earlier accepted line of the same order and SKU is unchanged."""

    ce_type = "allocation_failed.v1"
    reason: Annotated[
        events.RefusalReason,
        Field(description="Why it was refused.", examples=["out_of_stock"]),
    ]


class OutOfStockV1(LineMessage):
    """No batch could hold the order line."""

    ce_type = "out_of_stock.v1"


class LowStockV1(ProductMessage):
    """Availability fell below the reorder point. Published again only after availability has recovered."""

    ce_type = "low_stock.v1"
    available_qty: Annotated[int, Field(ge=0, description="Pieces that are available or held.", examples=[90])]
    reorder_point: Annotated[int, Field(ge=1, description="Availability below this is low stock.", examples=[100])]
    backordered_qty: BackorderedQuantity
    incoming_qty: IncomingQuantity


class BackInStockV1(ProductMessage):
    """A product that was out of stock is available again."""

    ce_type = "back_in_stock.v1"
    available_qty: AvailableQuantity


class BatchMessage(ProductMessage):
    """The data of an event of one batch."""

    ref: BatchRef
    qty: PurchasedQuantity
    eta: Eta


class BatchCreatedV1(BatchMessage):
    """A batch of stock was recorded."""

    ce_type = "batch_created.v1"
    location: BatchLocation = MAIN_LOCATION
    best_before: BatchBestBefore = None
    blocked: BatchBlocked = False


class BatchChangedV1(BatchMessage):
    """The location, the best-before day or the blocking of a batch changed. The message has all three."""

    ce_type = "batch_changed.v1"
    location: Annotated[str, Field(description="The location of the batch.", examples=["berlin"])]
    best_before: Annotated[
        date | None,
        Field(description="The last day on which the goods are good; null: any.", examples=["2030-06-30"]),
    ]
    blocked: Annotated[bool, Field(description="Whether nothing is allocated from the batch.", examples=[True])]


class BatchQuantityChangedV1(BatchMessage):
    """The purchased quantity of a batch changed."""

    ce_type = "batch_quantity_changed.v1"
    reason: Annotated[events.StockReason | None, Field(description="Why; null: not given.", examples=["damaged"])] = (
        None
    )
    reference: Annotated[
        str | None,
        Field(description="A reference to a document; null: not given.", examples=["report-17"]),
    ] = None


class BatchEtaChangedV1(BatchMessage):
    """The arrival date of a batch changed."""

    ce_type = "batch_eta_changed.v1"
    order_ids: Annotated[
        list[str],
        Field(
            description="Orders with a firm line on the batch: the first 100 that were allocated.",
            examples=[["order-1"]],
        ),
    ] = []
    order_count: Annotated[int, Field(ge=0, description="The number of firm lines on the batch.", examples=[1])] = 0
