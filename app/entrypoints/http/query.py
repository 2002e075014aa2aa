"""What callers can say in the query of several calls, and how it is written.

Pydantic would also take ` 40` and `4_0` for a number and `yes` for true; here, a value has one form.
"""

import re
from datetime import date
from typing import Annotated

from fastapi import Query
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from app.domain.fields import MAX_QUANTITY, Sku
from app.read_model.pagination import MAX_CURSOR_LENGTH, MOST_ITEMS

DEFAULT_ITEMS = 50


def _written_as(pattern: str, message: str) -> BeforeValidator:
    def check(value: object) -> object:
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise PydanticCustomError("form", "{message}", {"message": message})
        return value

    return BeforeValidator(check)


_WholeNumber = _written_as("-?[0-9]{1,18}", "Input should be a whole number")
Day = Annotated[date, _written_as("[0-9]{4}-[0-9]{2}-[0-9]{2}", "Input should be a date in the form YYYY-MM-DD")]
Flag = Annotated[bool, _written_as("true|false", "Input should be true or false")]

Limit = Annotated[
    int,
    Field(ge=1, le=MOST_ITEMS),
    _WholeNumber,
    Query(description="How many items a page has at most.", examples=[50]),
]
Cursor = Annotated[
    str,
    Field(min_length=1, max_length=MAX_CURSOR_LENGTH),
    Query(description="The `next_cursor` of the page before; none: the first page.", examples=["eyJ2IjoxfQ"]),
]
SkuFilter = Annotated[Sku, Query(description="Only of this product.")]
Pieces = Annotated[
    int, Field(ge=1, le=MAX_QUANTITY), _WholeNumber, Query(description="Pieces wanted, in one batch.", examples=[40])
]
ByDay = Annotated[Day, Query(description="The day by which they are wanted; none: any.", examples=["2030-01-01"])]
ArrivingBy = Annotated[
    Day, Query(description="Only batches on their way that arrive on this day at the latest.", examples=["2030-01-01"])
]
LowStock = Annotated[
    Flag, Query(description="true: only products of which less is available than their reorder point.", examples=[True])
]
Backordered = Annotated[Flag, Query(description="true: only products that order lines wait for.", examples=[True])]
DryRun = Annotated[
    Flag,
    Query(
        description="true: answer what would happen and why, and keep nothing. A look, not a reservation.",
        examples=[True],
    ),
]
