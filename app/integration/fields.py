"""What the fields are called and mean wherever the service shows them: in its events and in its answers."""

from datetime import date
from typing import Annotated

from pydantic import Field

OrderId = Annotated[str, Field(description="The customer's order.", examples=["order-1"])]
Sku = Annotated[str, Field(description="Identifies the product.", examples=["RED-CHAIR"])]
BatchRef = Annotated[str, Field(description="Identifies the batch.", examples=["batch-1"])]
LineQuantity = Annotated[int, Field(ge=1, description="Pieces ordered.", examples=[10])]
PurchasedQuantity = Annotated[int, Field(ge=0, description="Pieces purchased, as known now.", examples=[100])]
AllocatedQuantity = Annotated[int, Field(ge=0, description="Pieces held by lines that are not shipped.", examples=[10])]
ShippedQuantity = Annotated[int, Field(ge=0, description="Pieces that have left the house.", examples=[0])]
AvailableQuantity = Annotated[int, Field(ge=0, description="Pieces neither held nor shipped.", examples=[90])]
Eta = Annotated[
    date | None,
    Field(description="The day the batch arrives; null: it is in the warehouse.", examples=["2030-01-01"]),
]
BackorderedQuantity = Annotated[int, Field(ge=0, description="Pieces that order lines wait for.", examples=[0])]
