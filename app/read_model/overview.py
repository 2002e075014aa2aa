"""Counts of what needs action, in one statement for each cell.

Each count scans an index, up to `COUNT_LIMIT` entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import Row, text

from app.adapters.postgresql.usable import TODAY
from app.read_model.list_statements import WITH_AVAILABLE
from app.read_model.merging import total
from app.read_model.pagination import COUNT_LIMIT
from app.read_model.reader import Reader


def _bounded(table: str, condition: str, order: str) -> str:
    return f"SELECT count(*) FROM (SELECT FROM {table} WHERE {condition} ORDER BY {order} LIMIT {COUNT_LIMIT + 1}) AS t"  # noqa: S608 - constants


def _waiting(condition: str) -> str:
    return _bounded("order_lines", f"batch_number IS NULL AND {condition}", "placed_at")


def _ago(age: str) -> str:
    return f"statement_timestamp() - interval '{age}'"


def _products(index: str, wanted: str) -> str:
    """How many of the first products match, and how many were examined."""
    return f"""
        SELECT count(*) FILTER (WHERE {wanted}) AS matching, count(*) AS examined FROM (
            SELECT sku, reorder_point, held_qty FROM products WHERE {index} ORDER BY sku LIMIT {COUNT_LIMIT + 1}
        ) AS t {WITH_AVAILABLE}
    """  # noqa: S608 - constants


_AGES = ("under_1_day", "days_1_to_3", "days_3_to_7", "over_7_days")
_MIDNIGHT = "date_trunc('day', statement_timestamp())"

# The ids of events are nearly in the order of time, so today's events are the last ones.
_TODAYS_EVENTS = f"""
    SELECT count(*) FILTER (WHERE type = 'line_allocated.v1' AND created_at >= {_MIDNIGHT}) AS allocated,
           count(*) FILTER (WHERE created_at >= {_MIDNIGHT}) AS examined
    FROM (SELECT type, created_at FROM events ORDER BY id DESC LIMIT {COUNT_LIMIT + 1}) AS t
"""  # noqa: S608 - constants

_OVERVIEW = text(f"""
    SELECT statement_timestamp() AS time,
           low.matching AS low_stock, low.examined AS low_stock_examined,
           sold_out.matching AS sold_out, sold_out.examined AS sold_out_examined,
           ({_waiting(f"placed_at > {_ago('1 day')}")}) AS under_1_day,
           ({_waiting(f"placed_at <= {_ago('1 day')} AND placed_at > {_ago('3 days')}")}) AS days_1_to_3,
           ({_waiting(f"placed_at <= {_ago('3 days')} AND placed_at > {_ago('7 days')}")}) AS days_3_to_7,
           ({_waiting(f"placed_at <= {_ago('7 days')}")}) AS over_7_days,
           ({_bounded("batches", f"eta IS NOT NULL AND eta < {TODAY}", "eta")}) AS late_batches,
           ({_bounded("order_lines", "held_until IS NOT NULL", "sku, held_until")}) AS held_lines,
           today.allocated AS allocations_today, today.examined AS today_examined,
           ({_bounded("dead_letters", "true", "id")}) AS dead_letters,
           (SELECT greatest(0, extract(epoch FROM clock_timestamp() - created_at))::double precision
            FROM events WHERE id = (SELECT min(id) FROM outbox)) AS outbox_age
    FROM ({_products("reorder_point IS NOT NULL", "available_qty + held_qty < reorder_point")}) AS low,
         ({_products("true", "available_qty = 0")}) AS sold_out,
         ({_TODAYS_EVENTS}) AS today
""")  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Count:
    """A number of items; a lower bound if there are many."""

    count: Annotated[int, Field(ge=0, description="The number of items.", examples=[3])]
    count_is_exact: Annotated[
        bool, Field(description="false if there may be more items than were counted.", examples=[True])
    ]


@dataclass(frozen=True, slots=True)
class BackorderAges:
    """Backordered lines by the time since they were placed."""

    under_1_day: Annotated[Count, Field(description="Placed within the last 24 hours.")]
    days_1_to_3: Annotated[Count, Field(description="Placed one to three days ago.")]
    days_3_to_7: Annotated[Count, Field(description="Placed three to seven days ago.")]
    over_7_days: Annotated[Count, Field(description="Placed seven days ago or earlier.")]


@dataclass(frozen=True, slots=True)
class Overview:
    """What needs action."""

    time: Annotated[datetime, Field(description="The time of the counts.", examples=["2030-01-01T12:00:00Z"])]
    low_stock: Annotated[
        Count,
        Field(description="Products below their reorder point. Held pieces count as available, as for `low_stock.v1`."),
    ]
    sold_out: Annotated[Count, Field(description="Products of which no piece is available.")]
    backorders: Annotated[BackorderAges, Field(description="Order lines that wait for stock.")]
    late_batches: Annotated[Count, Field(description="Batches that have not arrived and whose ETA has passed.")]
    held_lines: Annotated[Count, Field(description="Order lines that are held.")]
    allocations_today: Annotated[Count, Field(description="`line_allocated.v1` events since midnight.")]
    dead_letters: Annotated[Count, Field(description="Messages that could not be handled.")]
    outbox_age_seconds: Annotated[
        float,
        Field(ge=0, description="The age of the oldest event that is not published; 0 if there is none.", examples=[0]),
    ]


async def overview(reader: Reader) -> Overview:
    """The current overview. Raises DatabaseUnavailableError."""
    # Dead letters belong to no cell.
    parts = [row for (row,) in await reader.fetch_each(_OVERVIEW, {}, with_control=True)]
    return Overview(
        time=min(row.time for row in parts),
        low_stock=_count(parts, "low_stock", "low_stock_examined"),
        sold_out=_count(parts, "sold_out", "sold_out_examined"),
        backorders=BackorderAges(*(_count(parts, age) for age in _AGES)),
        late_batches=_count(parts, "late_batches"),
        held_lines=_count(parts, "held_lines"),
        allocations_today=_count(parts, "allocations_today", "today_examined"),
        dead_letters=_count(parts, "dead_letters"),
        outbox_age_seconds=max(row.outbox_age or 0.0 for row in parts),
    )


def _count(parts: Sequence[Row[Any]], matching: str, examined: str | None = None) -> Count:
    """The sum of a column. Without a column of what was examined, all that was examined matches."""
    return Count(*total((getattr(row, matching), getattr(row, examined or matching)) for row in parts))
