"""What the fields of commands may hold: identifiers, quantities and dates, each in one written form."""

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from app.domain.choice import HIGHEST_PRIORITY
from app.domain.limits import MAX_PRICE, MAX_QUANTITY

_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _iso_date_or_null(meaning: str) -> BeforeValidator:
    """Refuse what Pydantic would also take for a date: numbers, and date-times at midnight."""

    def check(value: object) -> object:
        if value is None or isinstance(value, date):
            return value
        if not isinstance(value, str) or not _ISO_DATE.fullmatch(value):
            raise PydanticCustomError(
                "date_form", "Input should be a date in the form YYYY-MM-DD, or null: {meaning}", {"meaning": meaning}
            )
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise PydanticCustomError("date_value", "Input should be a date of the calendar") from None

    return BeforeValidator(check)


IDENTIFIER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:\-]{0,254}$"
_IDENTIFIER_OR_EMPTY = f"^({IDENTIFIER_PATTERN[1:-1]})?$"

ONE_LINE_PATTERN = r"^[^\u0000-\u001F\u007F-\u009F\u061C\u200E\u200F\u2028-\u202E\u2066-\u2069]*$"
"""Free text on one line, which logs, mails and tables of others show as it was meant: no control characters (C0, C1),
no line or paragraph separators, and none of the characters that change the direction of the text around them (Unicode's
Bidi_Control)."""

Identifier = Annotated[str, Field(strict=True, pattern=IDENTIFIER_PATTERN, min_length=1, max_length=255)]
Quantity = Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)]
NewQuantity = Annotated[int, Field(strict=True, ge=0, le=MAX_QUANTITY)]
Eta = Annotated[date | None, _iso_date_or_null("in the warehouse")]

LONGEST_HOLD = 14_400
"""Seconds. No setting allows a longer hold."""

HOLD_MAX = "hold_max"
"""The key of the validation context that has the longest hold of this service, in seconds."""


def _within_hold_max(value: int, info: ValidationInfo) -> int:
    longest: int = (info.context or {}).get(HOLD_MAX, LONGEST_HOLD)
    if value > longest:
        raise PydanticCustomError("hold_too_long", "Input should be at most {longest} seconds", {"longest": longest})
    return value


OrderId = Annotated[Identifier, Field(description="The id of the order.", examples=["order-1"])]
Sku = Annotated[Identifier, Field(description="The SKU of the product.", examples=["RED-CHAIR"])]
BatchRef = Annotated[
    Identifier, Field(description="The permanent ref of the batch, unique over all products.", examples=["batch-1"])
]
LineQuantity = Annotated[Quantity, Field(description="Pieces ordered.", examples=[10])]
BatchQuantity = Annotated[Quantity, Field(description="Pieces purchased.", examples=[100])]
NewBatchQuantity = Annotated[
    NewQuantity, Field(description="The new purchased quantity, shipped pieces included.", examples=[25])
]
OnHandQuantity = Annotated[
    NewQuantity,
    Field(description="Pieces counted in the warehouse: purchased and not shipped, allocated or not.", examples=[20]),
]
CountedShippedQuantity = Annotated[
    NewQuantity,
    Field(
        description=(
            "The shipped quantity of the batch at the time of the count. With it, a count has the same result before "
            "and after shipments that are on their way to the service. Default: the shipped quantity that is known."
        ),
        examples=[5],
    ),
]
BatchEta = Annotated[
    Eta, Field(description="The day the batch arrives; null if it is in the warehouse.", examples=["2030-01-01"])
]
Location = Annotated[
    Identifier, Field(title="NewLocation", description="The location of the batch.", examples=["berlin"])
]
BestBefore = Annotated[
    date | None,
    _iso_date_or_null("the goods do not expire"),
    Field(description="The last day on which the goods are good; null if they do not expire.", examples=["2030-06-30"]),
]
Blocked = Annotated[
    bool,
    Field(strict=True, description="Whether nothing may be allocated from the batch.", examples=[True]),
]


MOST_LOCATIONS = 16

Locations = Annotated[
    list[Identifier],
    Field(
        # Not at least one: generated clients in Java send an empty list for none.
        max_length=MOST_LOCATIONS,
        description="The locations that may serve the line, the best one first. Without any: all.",
        examples=[["berlin", "paris"]],
    ),
]
GoodUntil = Annotated[
    date,
    _iso_date_or_null("today"),
    Field(
        description="The day through which the goods must be good. Default: today.",
        examples=["2030-02-01"],
    ),
]
Priority = Annotated[
    int,
    Field(
        strict=True,
        ge=0,
        le=HIGHEST_PRIORITY,
        description="The priority in the queue: 9 is served first, 0 last. Default: 5.",
        examples=[7],
    ),
]
LineName = Annotated[
    str,
    Field(
        strict=True,
        pattern=_IDENTIFIER_OR_EMPTY,
        max_length=255,
        description="A name that distinguishes the line from others of the same order and SKU. Default: empty.",
        examples=["a"],
    ),
]
CartId = Annotated[Identifier, Field(description="The id of the cart.", examples=["cart-1"])]
Currency = Annotated[
    str,
    Field(
        strict=True,
        pattern=r"^[A-Z]{3}$",
        max_length=3,
        description="The currency of all prices of the cart: three capital letters, as in ISO 4217.",
        examples=["EUR"],
    ),
]
UnitPrice = Annotated[
    int,
    Field(
        strict=True,
        ge=0,
        le=MAX_PRICE,
        description="The price of one piece, in whole minor units of the currency of the cart, for example cents.",
        examples=[4990],
    ),
]
EntityTags = frozenset[str]
"""Strong entity tags (RFC 9110, 8.8.3) in their quotation marks, or `*` alone: any."""
HoldFor = Annotated[
    int,
    Field(
        strict=True,
        ge=1,
        le=LONGEST_HOLD,
        description=(
            "Hold the stock for this many seconds, until the order is placed without `hold_for`. The operator may have "
            "set a smaller maximum (900 unless configured otherwise). A hold never waits in the queue, so "
            '`if_unavailable: "backorder"` does not go with it.'
        ),
        examples=[600],
    ),
    AfterValidator(_within_hold_max),
]
IfUnavailable = Annotated[
    Literal["backorder", "reject"],
    Field(
        description="The outcome of a line that no batch can hold: it is backordered or refused. A hold is refused.",
        examples=["reject"],
    ),
]


def drop_default(schema: dict[str, Any]) -> None:
    """A field that is left out is not the same as null, whatever the default is called."""
    schema.pop("default", None)


LEFT_OUT: Any = None
"""The default of a field that may be left out and is not null. A default is not validated."""
