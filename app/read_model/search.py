"""Orders, products and batches by the beginning of their names."""

import re
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated

from pydantic import Field
from sqlalchemy import text

from app.read_model.merging import merged
from app.read_model.reader import Reader, Rows

MOST_FOUND = 10
_MOST_LINES = 100
_AFTER_ALL = "\x7f"
"""Greater than every character of an identifier."""

_IDENTIFIER = re.compile("[A-Za-z0-9][A-Za-z0-9._:-]{0,254}")


def _beginning(kind: str, table: str, column: str, limit: int) -> str:
    return f"""(
        SELECT '{kind}' AS kind, {column} AS name FROM {table} WHERE {column} >= :prefix AND {column} < :end
        ORDER BY {column} LIMIT {limit}
    )"""  # noqa: S608 - constants


# Each part is a range of a unique index. An order has an entry for each of its lines.
_SEARCH = text(
    " UNION ALL ".join(
        (
            _beginning("order", "order_lines", "order_id", _MOST_LINES),
            _beginning("sku", "products", "sku", MOST_FOUND),
            _beginning("batch", "batches", "ref", MOST_FOUND),
        )
    )
)


@dataclass(frozen=True, slots=True)
class Found:
    """The first names of each kind that begin with the text."""

    orders: Annotated[list[str], Field(description="Order ids.", examples=[["order-1"]])]
    skus: Annotated[list[str], Field(description="SKUs.", examples=[["RED-CHAIR"]])]
    batches: Annotated[list[str], Field(description="Batch refs.", examples=[["batch-1"]])]


async def search(reader: Reader, prefix: str) -> Found:
    """At most MOST_FOUND names of each kind. A text that is not the beginning of an identifier finds nothing."""
    found: dict[str, dict[str, None]] = {"order": {}, "sku": {}, "batch": {}}
    if _IDENTIFIER.fullmatch(prefix):
        parts = await reader.fetch_each(_SEARCH, {"prefix": prefix, "end": prefix + _AFTER_ALL})
        last = min((part[-1].name for part in map(_orders, parts) if len(part) == _MOST_LINES), default=_AFTER_ALL)
        for row in merged(parts, attrgetter("name")):
            # Behind the last line that was read in a cell, the cell may have orders that were not.
            if row.kind != "order" or row.name <= last:
                found[row.kind][row.name] = None
    return Found(*(list(names)[:MOST_FOUND] for names in found.values()))


def _orders(part: Rows) -> Rows:
    return [row for row in part if row.kind == "order"]
