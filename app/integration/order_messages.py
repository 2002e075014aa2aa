"""Published events of orders as a whole."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.domain import events
from app.integration.fields import (
    CartId,
    CartQuantity,
    Currency,
    LineQuantity,
    NameOfLine,
    OrderId,
    Sku,
    Total,
    UnitPrice,
)
from app.integration.product_messages import Message


class LineOfOrder(BaseModel):
    """A quantity of one SKU."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    sku: Sku
    # `OrderLine` calls it `name`.
    line: NameOfLine = Field(default="", validation_alias="name")
    qty: LineQuantity


LinesOfOrder = Annotated[
    list[LineOfOrder], Field(description="By SKU and `line`.", examples=[[{"sku": "RED-CHAIR", "qty": 10}]])
]


class OrderMessage(Message):
    """The data of an event of an order as a whole. The record key is the order id; there is no `ce_sequence`."""

    order_id: OrderId


class OrderLinesMessage(OrderMessage):
    """The data of an event of an order that names lines of it."""

    lines: LinesOfOrder


class OrderPlacedV1(OrderLinesMessage):
    """An order was accepted. The events of each product report the result for its line."""

    ce_type = "order_placed.v1"


class OrderCancelledV1(OrderLinesMessage):
    """An order was cancelled. `lines` are the cancelled lines: all that were not shipped."""

    ce_type = "order_cancelled.v1"


class OrderRefusedV1(OrderLinesMessage):
    """An order was refused as a whole. `lines` are the lines that caused the refusal."""

    ce_type = "order_refused.v1"
    reason: Annotated[events.RefusalReason, Field(description="Why it was refused.", examples=["out_of_stock"])]


class ItemOfCart(BaseModel):
    """An item of a cart."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    sku: Sku
    qty: CartQuantity
    unit_price: UnitPrice


class CartCheckedOutV1(OrderMessage):
    """The order of a cart was placed, or is held. The key is the order id, so it follows `order_placed.v1`."""

    ce_type = "cart_checked_out.v1"
    cart_id: CartId
    currency: Currency
    total: Total
    items: Annotated[
        list[ItemOfCart],
        Field(description="By SKU.", examples=[[{"sku": "RED-CHAIR", "qty": 2, "unit_price": 4990}]]),
    ]
    held_until: Annotated[
        datetime | None,
        Field(description="The end of the hold, in UTC; null: the order is firm.", examples=["2030-01-01T12:00:00Z"]),
    ]
