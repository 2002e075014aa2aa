"""Published events.

The models are the contract: a domain field is published only if a model names it, so the domain can change without
a change for subscribers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic_core import to_json

from app.domain import events
from app.integration.order_messages import CartCheckedOutV1, OrderCancelledV1, OrderPlacedV1, OrderRefusedV1
from app.integration.product_messages import (
    AllocationFailedV1,
    BackInStockV1,
    BatchChangedV1,
    BatchCreatedV1,
    BatchEtaChangedV1,
    BatchQuantityChangedV1,
    HoldReleasedV1,
    LineAllocatedV1,
    LineBackorderedV1,
    LineDeallocatedV1,
    LineHeldV1,
    LineShippedV1,
    LowStockV1,
    Message,
    OutOfStockV1,
    ProductMessage,
)

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
    events.BatchTermsChanged: BatchChangedV1,
    events.BatchQuantityChanged: BatchQuantityChangedV1,
    events.BatchEtaChanged: BatchEtaChangedV1,
    events.OrderPlaced: OrderPlacedV1,
    events.OrderCancelled: OrderCancelledV1,
    events.OrderRefused: OrderRefusedV1,
    events.CartCheckedOut: CartCheckedOutV1,
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
