"""Counts of what needs action, in one statement. Each count scans an index, up to `COUNT_LIMIT` entries."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import Row, text

from app.adapters.postgresql.usable import TODAY
from app.read_model.list_statements import WITH_AVAILABLE
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
    """What needs action, at one moment."""

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
    (row,) = await reader.fetch(_OVERVIEW, {})
    return Overview(
        time=row.time,
        low_stock=_examined(row.low_stock, row.low_stock_examined),
        sold_out=_examined(row.sold_out, row.sold_out_examined),
        backorders=_ages(row),
        late_batches=_counted(row.late_batches),
        held_lines=_counted(row.held_lines),
        allocations_today=_examined(row.allocations_today, row.today_examined),
        dead_letters=_counted(row.dead_letters),
        outbox_age_seconds=row.outbox_age or 0.0,
    )


def _ages(row: Row[Any]) -> BackorderAges:
    return BackorderAges(*map(_counted, (row.under_1_day, row.days_1_to_3, row.days_3_to_7, row.over_7_days)))


def _counted(found: int) -> Count:
    return _examined(found, found)


def _examined(matching: int, examined: int) -> Count:
    return Count(min(matching, COUNT_LIMIT), examined <= COUNT_LIMIT)
