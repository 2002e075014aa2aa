"""Published events.

The models are the contract: a domain field is published only if a model names it, so the domain can change without
a change for subscribers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from app.domain import events
from app.integration.fields import (
    AvailableQuantity,
    BackorderedQuantity,
    BatchRef,
    Eta,
    IncomingQuantity,
    LineQuantity,
    OrderId,
    PurchasedQuantity,
    Sku,
)


class Message(BaseModel):
    """The data of a published event."""

    # Fields that were added later have defaults, so that older events can be read. They are always written.
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


class LineAllocatedV1(ProductMessage):
    """The order line was allocated to a batch."""

    ce_type = "line_allocated.v1"
    order_id: OrderId
    qty: LineQuantity
    batch_ref: BatchRef


class LineHeldV1(ProductMessage):
    """A batch keeps stock for the order line until `held_until`, unless the line is confirmed before.

    Published at the hold, and again whenever the batch or the end of the hold changes. The confirmation publishes
    `line_allocated.v1`.
    """

    ce_type = "line_held.v1"
    order_id: OrderId
    qty: LineQuantity
    batch_ref: BatchRef
    held_until: Annotated[
        datetime, Field(description="The end of the hold, in UTC.", examples=["2030-01-01T12:00:00Z"])
    ]


class HoldReleasedV1(ProductMessage):
    """The hold of the order line ended without a confirmation."""

    ce_type = "hold_released.v1"
    order_id: OrderId
    qty: LineQuantity
    batch_ref: BatchRef
    reason: Annotated[events.HoldReleaseReason, Field(description="Why it ended.", examples=["expired"])]


class LineDeallocatedV1(ProductMessage):
    """The order line was deallocated from its batch, or removed from the queue of backorders.

    With `new_qty` the line is placed again: its next `line_allocated.v1` or `line_backordered.v1` has that quantity.
    """

    ce_type = "line_deallocated.v1"
    order_id: OrderId
    qty: LineQuantity
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


class LineShippedV1(ProductMessage):
    """The order line was shipped."""

    ce_type = "line_shipped.v1"
    order_id: OrderId
    qty: LineQuantity
    batch_ref: BatchRef


class LineBackorderedV1(ProductMessage):
    """The order line was accepted and waits for stock."""

    ce_type = "line_backordered.v1"
    order_id: OrderId
    qty: LineQuantity


class AllocationFailedV1(ProductMessage):
    """The order line was refused. An earlier accepted line of the same order and SKU is unchanged."""

    ce_type = "allocation_failed.v1"
    order_id: OrderId
    qty: LineQuantity
    reason: Annotated[
        events.RefusalReason,
        Field(description="Why it was refused.", examples=["out_of_stock"]),
    ]


class OutOfStockV1(ProductMessage):
    """No batch could hold the order line."""

    ce_type = "out_of_stock.v1"
    order_id: OrderId
    qty: LineQuantity


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


class BatchCreatedV1(ProductMessage):
    """A batch of stock was recorded."""

    ce_type = "batch_created.v1"
    ref: BatchRef
    qty: PurchasedQuantity
    eta: Eta


class BatchQuantityChangedV1(BatchCreatedV1):
    """The purchased quantity of a batch changed."""

    ce_type = "batch_quantity_changed.v1"
    reason: Annotated[events.StockReason | None, Field(description="Why; null: not given.", examples=["damaged"])] = (
        None
    )
    reference: Annotated[
        str | None,
        Field(description="A reference to a document; null: not given.", examples=["report-17"]),
    ] = None


class BatchEtaChangedV1(BatchCreatedV1):
    """The arrival date of a batch changed."""

    ce_type = "batch_eta_changed.v1"
    order_ids: Annotated[
        list[str],
        Field(
            description="Orders with a line on the batch: the first 100 that were allocated.",
            examples=[["order-1"]],
        ),
    ] = []
    order_count: Annotated[
        int, Field(ge=0, description="The number of orders with a line on the batch.", examples=[1])
    ] = 0


class LineOfOrder(BaseModel):
    """A quantity of one SKU."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    sku: Sku
    qty: LineQuantity


LinesOfOrder = Annotated[list[LineOfOrder], Field(description="By SKU.", examples=[[{"sku": "RED-CHAIR", "qty": 10}]])]


class OrderMessage(Message):
    """The data of an event of an order as a whole. The record key is the order id; there is no `ce_sequence`."""

    order_id: OrderId
    lines: LinesOfOrder


class OrderPlacedV1(OrderMessage):
    """An order was accepted. The events of each product report the result for its line."""

    ce_type = "order_placed.v1"


class OrderCancelledV1(OrderMessage):
    """An order was cancelled. `lines` are the cancelled lines: all that were not shipped."""

    ce_type = "order_cancelled.v1"


class OrderRefusedV1(OrderMessage):
    """An order was refused as a whole. `lines` are the lines that caused the refusal."""

    ce_type = "order_refused.v1"
    reason: Annotated[events.RefusalReason, Field(description="Why it was refused.", examples=["out_of_stock"])]


OUTBOUND_MESSAGES: dict[type[events.Event], type[Message]] = {
    events.LineAllocated: LineAllocatedV1,
    events.LineHeld: LineHeldV1,
    events.HoldReleased: HoldReleasedV1,
    events.LineDeallocated: LineDeallocatedV1,
    events.LineBackordered: LineBackorderedV1,
    events.LineShipped: LineShippedV1,
    events.AllocationFailed: AllocationFailedV1,
    events.OutOfStock: OutOfStockV1,
    events.LowStock: LowStockV1,
    events.BackInStock: BackInStockV1,
    events.BatchCreated: BatchCreatedV1,
    events.BatchQuantityChanged: BatchQuantityChangedV1,
    events.BatchEtaChanged: BatchEtaChangedV1,
    events.OrderPlaced: OrderPlacedV1,
    events.OrderCancelled: OrderCancelledV1,
    events.OrderRefused: OrderRefusedV1,
}


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """An event ready to be published: its type, its key (`subject`), its sequence, and its JSON data."""

    type: str
    subject: str
    sequence: int | None
    data: str


def to_message(event: events.Event) -> OutboundMessage:
    """The message that publishes the event."""
    model = OUTBOUND_MESSAGES[type(event)]
    if issubclass(model, ProductMessage):
        # The domain has validated the values. A long queue raises 100,000 of these events at once, and building a
        # model for each takes four times as long.
        values = {}
        for name, is_left_out in _fields_of(model):
            value = getattr(event, name)
            if is_left_out is None or not is_left_out(value):
                values[name] = value
        data = to_json(values).decode()
    else:
        data = model.model_validate(event).model_dump_json()
    return OutboundMessage(model.ce_type, event.subject, event.sequence, data)


@cache
def _fields_of(model: type[ProductMessage]) -> list[tuple[str, Callable[[Any], bool] | None]]:
    """The fields of the message, each with the condition that leaves it out of the JSON."""
    return [(name, field.exclude_if) for name, field in model.model_fields.items()]
