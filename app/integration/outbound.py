"""The service's own events as others read them.

The models are the promise: a field of the domain reaches the wire only where a model names it, so the domain can be
changed without anybody outside noticing.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain import events
from app.integration.fields import BatchRef, Eta, LineQuantity, OrderId, PurchasedQuantity, Sku


class Message(BaseModel):
    """The data of a published event."""

    # A field that came later has a default, for readers of events from before it; it is always written.
    model_config = ConfigDict(
        frozen=True,
        from_attributes=True,
        json_schema_serialization_defaults_required=True,
        # An error is logged, and what was sent is not.
        hide_input_in_errors=True,
    )
    ce_type: ClassVar[str]

    sku: Sku


class LineAllocatedV1(Message):
    """A batch will serve the order line."""

    ce_type = "line_allocated.v1"
    order_id: OrderId
    qty: LineQuantity
    batch_ref: BatchRef


class LineDeallocatedV1(Message):
    """The order line left its batch; where it left the queue, `batch_ref` is null."""

    ce_type = "line_deallocated.v1"
    order_id: OrderId
    qty: LineQuantity
    batch_ref: Annotated[
        str | None, Field(description="The batch that it left; null: it left the queue.", examples=["batch-1"])
    ]
    reason: Annotated[events.ReleaseReason, Field(description="Why it left.", examples=["cancelled"])]


class LineShippedV1(Message):
    """The order line has left the house."""

    ce_type = "line_shipped.v1"
    order_id: OrderId
    qty: LineQuantity
    batch_ref: BatchRef


class LineBackorderedV1(Message):
    """The order line was accepted and waits for stock."""

    ce_type = "line_backordered.v1"
    order_id: OrderId
    qty: LineQuantity


class AllocationFailedV1(Message):
    """The order line was refused and is not kept."""

    ce_type = "allocation_failed.v1"
    order_id: OrderId
    qty: LineQuantity
    reason: Annotated[
        Literal["out_of_stock", "invalid_sku", "conflict"],
        Field(description="Why it was refused.", examples=["out_of_stock"]),
    ]


class OutOfStockV1(Message):
    """No batch could hold the order line."""

    ce_type = "out_of_stock.v1"
    order_id: OrderId
    qty: LineQuantity


class BatchCreatedV1(Message):
    """A batch of stock was recorded."""

    ce_type = "batch_created.v1"
    ref: BatchRef
    qty: PurchasedQuantity
    eta: Eta


class BatchQuantityChangedV1(BatchCreatedV1):
    """The purchased quantity of a batch changed."""

    ce_type = "batch_quantity_changed.v1"
    reason: Annotated[
        events.StockReason | None, Field(description="Why; null where it was not told.", examples=["damaged"])
    ] = None
    reference: Annotated[
        str | None,
        Field(description="Where more is written about it; null where it was not told.", examples=["report-17"]),
    ] = None


class BatchEtaChangedV1(BatchCreatedV1):
    """The day of arrival of a batch changed."""

    ce_type = "batch_eta_changed.v1"
    order_ids: Annotated[
        list[str],
        Field(
            description="Orders that had a line on the batch: those allocated first, at most 100.",
            examples=[["order-1"]],
        ),
    ] = []
    order_count: Annotated[int, Field(ge=0, description="How many orders had a line on it.", examples=[1])] = 0


OUTBOUND_MESSAGES: dict[type[events.Event], type[Message]] = {
    events.LineAllocated: LineAllocatedV1,
    events.LineDeallocated: LineDeallocatedV1,
    events.LineBackordered: LineBackorderedV1,
    events.LineShipped: LineShippedV1,
    events.AllocationFailed: AllocationFailedV1,
    events.OutOfStock: OutOfStockV1,
    events.BatchCreated: BatchCreatedV1,
    events.BatchQuantityChanged: BatchQuantityChangedV1,
    events.BatchEtaChanged: BatchEtaChangedV1,
}


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """An event ready to be published: its type, its key, its place among the events of the key, and its JSON data."""

    type: str
    sku: str
    sequence: int | None
    data: str


def to_message(event: events.Event) -> OutboundMessage:
    """The message that tells others of the event."""
    model = OUTBOUND_MESSAGES[type(event)]
    return OutboundMessage(
        type=model.ce_type,
        sku=event.sku,
        sequence=event.sequence,
        data=model.model_validate(event).model_dump_json(),
    )
