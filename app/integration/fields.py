"""Field types and descriptions shared by events and HTTP responses."""

from datetime import date, datetime
from typing import Annotated

from pydantic import Field

from app.domain.choice import MAIN_LOCATION
from app.domain.limits import MAX_PRICE

OrderId = Annotated[str, Field(description="The customer's order.", examples=["order-1"])]
Sku = Annotated[str, Field(description="Identifies the product.", examples=["RED-CHAIR"])]
BatchRef = Annotated[str, Field(description="Identifies the batch.", examples=["batch-1"])]
LineQuantity = Annotated[int, Field(ge=1, description="Pieces ordered.", examples=[10])]
NameOfLine = Annotated[
    str,
    Field(
        title="NameOfLine",
        description="The `line` of the order line: its name among those of the order and SKU. Left out if it is empty.",
        examples=["a"],
        exclude_if=lambda value: not value,
    ),
]
PurchasedQuantity = Annotated[int, Field(ge=0, description="Pieces purchased.", examples=[100])]
AllocatedQuantity = Annotated[
    int, Field(ge=0, description="Pieces allocated to lines that are not shipped.", examples=[10])
]
ShippedQuantity = Annotated[int, Field(ge=0, description="Pieces shipped.", examples=[0])]
OnHandQuantity = Annotated[
    int,
    Field(ge=0, description="Pieces in the warehouse: purchased and not shipped, allocated or not.", examples=[100]),
]
AvailableQuantity = Annotated[
    int,
    Field(
        ge=0,
        description="Pieces that can be allocated: neither allocated nor shipped, and not blocked or expired.",
        examples=[90],
    ),
]
HeldQuantity = Annotated[int, Field(ge=0, description="Allocated pieces that are only held.", examples=[0])]
HeldUntil = Annotated[
    datetime | None,
    Field(
        description="The end of the hold, in UTC; null if the line is not held.",
        examples=["2030-01-01T12:00:00.000000Z"],
    ),
]
BackorderedQuantity = Annotated[
    int, Field(ge=0, description="Pieces of order lines that wait for stock.", examples=[0])
]
IncomingQuantity = Annotated[
    int, Field(ge=0, description="Available pieces in batches that have not arrived yet.", examples=[40])
]
ReorderPoint = Annotated[
    int | None,
    Field(
        description="`low_stock.v1` is published when availability falls below this; null: no reorder point.",
        examples=[100],
    ),
]
BatchLocation = Annotated[
    str,
    Field(
        title="LocationOfBatch",
        description="The location of the batch; left out for `main`, the default.",
        examples=["berlin"],
        exclude_if=lambda value: value == MAIN_LOCATION,
    ),
]
BatchBestBefore = Annotated[
    date | None,
    Field(
        title="BestBeforeOfBatch",
        description="The last day on which the goods are good; left out if they do not expire.",
        examples=["2030-06-30"],
        exclude_if=lambda value: value is None,
    ),
]
BatchBlocked = Annotated[
    bool,
    Field(
        title="BatchIsBlocked",
        description="true: nothing is allocated from the batch. Left out otherwise.",
        examples=[True],
        exclude_if=lambda value: not value,
    ),
]
CartId = Annotated[str, Field(description="Identifies the cart.", examples=["cart-1"])]
CartQuantity = Annotated[int, Field(ge=1, description="Pieces in the cart.", examples=[2])]
Currency = Annotated[
    str, Field(description="The currency of all prices, three letters as in ISO 4217.", examples=["EUR"])
]
UnitPrice = Annotated[
    int, Field(ge=0, description="The price of one piece, in whole minor units of the currency.", examples=[4990])
]
Total = Annotated[
    int,
    Field(
        ge=0, le=MAX_PRICE, description="The price of all items, in whole minor units of the currency.", examples=[9980]
    ),
]
Eta = Annotated[
    date | None,
    Field(description="The day of arrival; null: the batch is in the warehouse.", examples=["2030-01-01"]),
]
