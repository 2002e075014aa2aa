"""Query parameters that several operations share.

Each value has one form. Pydantic would also accept ` 40` and `4_0` as a number and `yes` as true.
"""

import re
from datetime import date
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from app.domain.fields import IDENTIFIER_PATTERN, MOST_LOCATIONS, Identifier, LineName, Locations, Sku
from app.domain.limits import MAX_QUANTITY
from app.integration.feed_events import EVENT_TYPES
from app.read_model.lists import BackorderOrder, BatchOrder
from app.read_model.pagination import MAX_CURSOR_LENGTH, MOST_ITEMS

DEFAULT_ITEMS = 50
MAX_WAIT_SECONDS = 30
MAX_FEED_CURSOR_LENGTH = 4_000


def _written_as(pattern: str, message: str) -> BeforeValidator:
    def check(value: object) -> object:
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise PydanticCustomError("form", "{message}", {"message": message})
        return value

    return BeforeValidator(check)


def _event_type(value: str) -> str:
    if value not in EVENT_TYPES:
        raise PydanticCustomError("event_type", "Input should be {types}", {"types": ", ".join(EVENT_TYPES)})
    return value


def _locations(value: str) -> str:
    _LOCATIONS.validate_python(value.split(","))
    return value


_LOCATIONS = TypeAdapter(Locations)
_IDENTIFIER = IDENTIFIER_PATTERN.strip("^$")
_LOCATIONS_PATTERN = f"^{_IDENTIFIER}(,{_IDENTIFIER}){{0,{MOST_LOCATIONS - 1}}}$"
_WholeNumber = _written_as("-?[0-9]{1,18}", "Input should be a whole number")
Day = Annotated[date, _written_as("[0-9]{4}-[0-9]{2}-[0-9]{2}", "Input should be a date in the form YYYY-MM-DD")]
Flag = Annotated[bool, _written_as("true|false", "Input should be true or false")]

Limit = Annotated[
    int,
    Field(ge=1, le=MOST_ITEMS),
    _WholeNumber,
    Query(description="The maximum number of items on a page.", examples=[50]),
]
Cursor = Annotated[
    str,
    Field(min_length=1, max_length=MAX_CURSOR_LENGTH),
    Query(description="The `next_cursor` of the previous page; omit it for the first page.", examples=["eyJ2IjoxfQ"]),
]
SkuFilter = Annotated[Sku, Query(description="Only items of this product.")]
Pieces = Annotated[
    int,
    Field(ge=1, le=MAX_QUANTITY),
    _WholeNumber,
    Query(description="The quantity, which one batch has to hold.", examples=[40]),
]
HeldForOrder = Annotated[
    Identifier,
    Query(description="Pieces that are held for this order are available to it.", examples=["order-1"]),
]
HeldForLine = Annotated[
    LineName,
    Query(
        description="The `line` of the held order line, if it has one. Default: empty. Ignored without `order_id`.",
        examples=["a"],
    ),
]
RemovedPieces = Annotated[
    int,
    Field(ge=1, le=MAX_QUANTITY),
    _WholeNumber,
    Query(description="The pieces to remove; omit it for all.", examples=[1]),
]
ByDay = Annotated[Day, Query(description="The latest acceptable day; omit it for any day.", examples=["2030-01-01"])]
ArrivingBy = Annotated[
    Day, Query(description="Only batches with an ETA on or before this day.", examples=["2030-01-01"])
]
LowStock = Annotated[
    Flag, Query(description="true: only products whose available quantity is below the reorder point.", examples=[True])
]
SoldOut = Annotated[Flag, Query(description="true: only products of which no piece is available.", examples=[True])]
Prefix = Annotated[Identifier, Query(description="The beginning of the names.", examples=["order-"])]
Late = Annotated[
    Flag,
    Query(description="true: only batches that have not arrived and whose ETA has passed.", examples=[True]),
]
Unfit = Annotated[
    Flag,
    Query(
        description="true: only batches with lines that are not shipped and that are blocked or have expired.",
        examples=[True],
    ),
]
Shipped = Annotated[Flag, Query(description="true: lines that were shipped from the batch.", examples=[True])]
FromLocations = Annotated[
    str,
    Field(min_length=1, max_length=MOST_LOCATIONS * 256),
    AfterValidator(_locations),
    Query(
        alias="from",
        description="The locations that may serve the quantity, separated by commas, the best one first. Default: all.",
        examples=["berlin,paris"],
        # Not checked by it: the errors of `_locations` name the location.
        json_schema_extra={"pattern": _LOCATIONS_PATTERN},
    ),
]
Line = Annotated[
    LineName, Query(description="The `line` of the order line, if it has one. Default: empty.", examples=["a"])
]
GoodUntil = Annotated[
    Day, Query(description="The day through which the goods must be good. Default: today.", examples=["2030-02-01"])
]
SortBatches = Annotated[
    BatchOrder,
    Query(
        description="`sku`: by SKU, then as recorded. `eta`: only batches on their way, the earliest ETA first.",
        examples=["sku"],
    ),
]
SortBackorders = Annotated[
    BackorderOrder,
    Query(
        description="`sku`: by SKU, then as they are served: by priority, oldest request first. `placed_at`: oldest "
        "first, over all products.",
        examples=["sku"],
    ),
]
Backordered = Annotated[Flag, Query(description="true: only products with backorders.", examples=[True])]
FeedCursor = Annotated[
    str,
    Field(min_length=1, max_length=MAX_FEED_CURSOR_LENGTH),
    Query(
        description="The `next_cursor` of a page or the `id` of an event of the stream; `earliest` for the first event "
        "that is kept. Omit it to begin now.",
        examples=["earliest"],
    ),
]
FeedSku = Annotated[Sku, Query(description="Only events of this product, so none of orders and carts.")]
FeedType = Annotated[
    str,
    AfterValidator(_event_type),
    Query(
        description="Only events of this type.",
        examples=["line_allocated.v1"],
        json_schema_extra={"enum": list(EVENT_TYPES)},
    ),
]
StreamLimit = Annotated[
    int,
    Field(ge=1, le=MAX_QUANTITY),
    _WholeNumber,
    Query(description="The stream ends after this number of events; omit it for no limit.", examples=[10]),
]
WaitSeconds = Annotated[
    int,
    Field(ge=0, le=MAX_WAIT_SECONDS),
    _WholeNumber,
    Query(description="The seconds to wait for an event if there is not one yet.", examples=[0]),
]
DryRun = Annotated[
    Flag,
    Query(
        description="true: return the outcome and its reason without storing anything. Nothing is reserved.",
        examples=[True],
    ),
]
