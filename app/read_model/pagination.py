"""Keyset pagination: a page begins behind the key of the last item of the page before.

Lists are ordered by keys that never change, so no item is skipped or repeated while others write. A cursor contains
that key, the name of the list and the filter. It contains no secret.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from app.domain.fields import Sku

MOST_ITEMS = 200
"""The largest page size."""

COUNT_LIMIT = 10_000
"""How many entries of an index are scanned to count a list."""

MAX_CURSOR_LENGTH = 2_000

Position = Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]
SkuKey = TypeAdapter(tuple[Sku])
PositionKey = TypeAdapter(tuple[Position])
SkuAndPositionKey = TypeAdapter(tuple[Sku, Position])
PlaceKey = TypeAdapter(tuple[Sku, Annotated[int, Field(strict=True, ge=0, le=10)], Position])
# The bounds keep a cursor within the times that the database and its driver have in common.
Time = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC))]
TimeKey = TypeAdapter(tuple[Time, Sku, Position])
DayKey = TypeAdapter(tuple[date, Sku, Position])

Key = TypeVar("Key", bound=tuple[Any, ...])


class InvalidCursorError(Exception):
    """The cursor was not issued by this list with this filter."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some items of a list, and the cursor of the next page."""

    items: list[Any]
    next_cursor: Annotated[
        str | None,
        Field(
            description="The `cursor` of the next page, with the same filter; null on the last page.",
            examples=["eyJ2IjoxfQ"],
        ),
    ]
    count: Annotated[
        int,
        Field(ge=0, description="The number of items on all pages; a lower bound for long lists.", examples=[1]),
    ]
    count_is_exact: Annotated[
        bool, Field(description="false if there may be more items than were counted.", examples=[True])
    ]


class _Cursor(BaseModel):
    """The content of a cursor. `v` is the version of the format."""

    model_config = ConfigDict(extra="forbid")

    v: Literal[1] = 1
    of: str
    filter: dict[str, str | None]
    after: list[Any]


@dataclass(frozen=True, slots=True)
class KeysetPager(Generic[Key]):
    """Encodes and decodes the cursors of one list with one filter. `start` is less than all keys of the list."""

    name: str
    filter: Mapping[str, str | None]
    key: TypeAdapter[Key]
    start: Key

    def decode(self, cursor: str | None) -> Key:
        """The key behind which the page begins; without a cursor, the start. Raises InvalidCursorError."""
        if cursor is None:
            return self.start
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            found = _Cursor.model_validate_json(base64.b64decode(padded, altchars=b"-_", validate=True))
            key = self.key.validate_python(tuple(found.after))
        except (binascii.Error, ValueError, ValidationError):
            raise InvalidCursorError("Input should be the next_cursor of a page") from None
        if (found.of, found.filter) != (self.name, self.filter):
            raise InvalidCursorError("Input should be the next_cursor of a page of this list, filtered like this")
        return key

    def encode(self, after: Key) -> str:
        """The cursor of the page behind the key."""
        cursor = _Cursor(of=self.name, filter=dict(self.filter), after=list(after))
        return base64.urlsafe_b64encode(cursor.model_dump_json().encode()).rstrip(b"=").decode()

    def next_cursor(self, keys: Sequence[Key], limit: int) -> str | None:
        """The cursor of the next page, or None. `keys` are those of the rows; one row more than `limit` was read."""
        return self.encode(keys[limit - 1]) if len(keys) > limit else None
