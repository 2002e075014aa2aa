"""The history of a product: its stored events."""

import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Self, cast
from uuid import UUID

from pydantic import Field
from sqlalchemy import Row, text

from app.adapters.postgresql.event_archives import ARCHIVED_BEFORE
from app.adapters.postgresql.tables import CHANGES_OF_BATCHES
from app.domain.errors import ProductNotFoundError
from app.integration.fields import Eta
from app.read_model.merging import newest_first
from app.read_model.pagination import MOST_ITEMS, KeysetPager, Page, PositionKey
from app.read_model.reader import Reader

COLUMNS = "sequence AS number, created_at, type, data, principal, correlation_id, causation_id, message_id"
"""What `HistoryEntry.of` reads."""

CHANGES_EXAMINED = 10_000

# Two limits: the inner one is known when the statement is planned, the outer one ends the index scan.
_HISTORY = text(f"""
    SELECT p.sequence AS newest, oldest.sequence AS oldest, {ARCHIVED_BEFORE} AS archived_before, e.*
    FROM products p
    CROSS JOIN LATERAL (
        SELECT min(sequence) AS sequence FROM events WHERE subject = p.sku AND sequence IS NOT NULL
    ) AS oldest
    LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT {COLUMNS}
            FROM events WHERE subject = p.sku AND sequence IS NOT NULL AND sequence < :before
            ORDER BY sequence DESC LIMIT {MOST_ITEMS + 1}
        ) AS shown ORDER BY number DESC LIMIT :limit
    ) AS e ON true
    WHERE p.sku = :sku ORDER BY e.number DESC
""")  # noqa: S608 - the number is a constant
# The first event of a line, its last allocation and its shipment are known. The others are looked for among the events
# of its product before that allocation, or before now if the line waits. Sequences have no gap, so a range bounds them.
_OF_ORDER = text(f"""
    WITH lines AS (
        SELECT sku, requested, allocated, shipped,
               {CHANGES_EXAMINED} / count(*) OVER () AS examined,
               coalesce(allocated, (SELECT sequence FROM products WHERE products.sku = order_lines.sku)) AS newest
        FROM order_lines WHERE order_id = :order_id LIMIT {MOST_ITEMS}
    )
    SELECT e.*
    FROM lines AS l
    CROSS JOIN LATERAL unnest(ARRAY[l.requested, l.allocated, l.shipped]) AS wanted(sequence)
    CROSS JOIN LATERAL (
        SELECT id, {COLUMNS} FROM events WHERE subject = l.sku AND sequence = wanted.sequence LIMIT 1
    ) AS e
    UNION ALL
    SELECT e.*
    FROM lines AS l
    CROSS JOIN LATERAL (
        SELECT id, {COLUMNS} FROM events
        WHERE subject = l.sku AND sequence BETWEEN greatest(l.requested, l.newest - l.examined) AND l.newest
            AND type <> 'out_of_stock.v1' AND data::json ->> 'order_id' = :order_id
        ORDER BY sequence DESC LIMIT {MOST_ITEMS}
    ) AS e
    ORDER BY id DESC
""")  # noqa: S608 - the numbers are constants
# The first event of a batch has its number as sequence. Its changes are among the newest events of the product.
_OF_BATCH = text(f"""
    SELECT e.* FROM (
        SELECT {COLUMNS} FROM (
            SELECT * FROM events WHERE subject = :sku AND sequence IS NOT NULL
            ORDER BY sequence DESC LIMIT {CHANGES_EXAMINED}
        ) AS newest
        WHERE type IN {CHANGES_OF_BATCHES}
        UNION ALL
        SELECT {COLUMNS} FROM events
        WHERE subject = :sku AND sequence = (SELECT number FROM batches WHERE ref = :ref AND sku = :sku)
    ) AS e
    WHERE e.data::json ->> 'ref' = :ref ORDER BY e.number DESC LIMIT {MOST_ITEMS}
""")  # noqa: S608 - the numbers are constants
_ARCHIVED_BEFORE = text(f"SELECT {ARCHIVED_BEFORE} AS archived_before")
_BEHIND_ALL = 2**63 - 1


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An event of a product. Fields that the event does not have are null."""

    time: Annotated[datetime, Field(description="The time of the event.", examples=["2030-01-01T12:00:00Z"])]
    event: Annotated[str, Field(description="The type of the event: its ce_type.", examples=["line_allocated.v1"])]
    sequence: Annotated[int, Field(ge=1, description="The event's position among all of the SKU.", examples=[2])]
    order_id: Annotated[str | None, Field(description="The id of the order.", examples=["order-1"])]
    batch_ref: Annotated[str | None, Field(description="The ref of the batch.", examples=["batch-1"])]
    qty: Annotated[int | None, Field(description="Pieces of the line, or of the batch as purchased.", examples=[10])]
    eta: Eta
    reason: Annotated[str | None, Field(description="The reason, as a code.", examples=["cancelled"])]
    reference: Annotated[str | None, Field(description="The reference to details.", examples=["report-17"])]
    who: Annotated[str | None, Field(description="The caller; null if it is unknown.", examples=["ana"])]
    correlation_id: Annotated[
        str, Field(description="The id of the conversation that caused the event.", examples=["conversation-1"])
    ]
    causation_id: Annotated[
        str, Field(description="The id of the request or message that caused the event.", examples=["request-1"])
    ]
    event_id: Annotated[
        UUID, Field(description="The event's ce_id.", examples=["0197a7c2-6c1e-7d0c-9d3e-2f1b8f0a4c11"])
    ]
    new_qty: Annotated[
        int | None,
        Field(
            description="The new quantity of a line, only in the event of its change.",
            examples=[6],
            exclude_if=lambda value: value is None,
        ),
    ] = None
    held_until: Annotated[
        datetime | None,
        Field(
            description="The end of the hold, only in the event of a hold.",
            examples=["2030-01-01T12:00:00.000000Z"],
            exclude_if=lambda value: value is None,
        ),
    ] = None
    location: Annotated[
        str | None,
        Field(
            description="The location of the batch, only in events of a batch that name it.",
            examples=["berlin"],
            exclude_if=lambda value: value is None,
        ),
    ] = None
    best_before: Annotated[
        date | None,
        Field(
            description="The last day on which the goods are good, only in events of a batch that name it.",
            examples=["2030-06-30"],
            exclude_if=lambda value: value is None,
        ),
    ] = None
    blocked: Annotated[
        bool | None,
        Field(
            description="Whether the batch is blocked, only in events of a batch that say so.",
            examples=[True],
            exclude_if=lambda value: value is None,
        ),
    ] = None
    line: Annotated[
        str | None,
        Field(
            description="The `line` of the order line, only in events of a line that has one.",
            examples=["a"],
            exclude_if=lambda value: value is None,
        ),
    ] = None

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """The entry of an event."""
        return cls(**fields_of(row))


def fields_of(row: Row[Any]) -> dict[str, Any]:
    """The fields of HistoryEntry, from a row with COLUMNS."""
    data = json.loads(row.data)
    return {
        "time": row.created_at,
        "event": row.type,
        "sequence": row.number,
        "order_id": data.get("order_id"),
        "batch_ref": data.get("batch_ref", data.get("ref")),
        "qty": data.get("qty"),
        "eta": _day(data.get("eta")),
        "reason": data.get("reason"),
        "reference": data.get("reference"),
        "who": row.principal,
        "correlation_id": row.correlation_id,
        "causation_id": row.causation_id,
        "event_id": row.message_id,
        "new_qty": data.get("new_qty"),
        "held_until": datetime.fromisoformat(data["held_until"]) if "held_until" in data else None,
        "location": data.get("location"),
        "best_before": _day(data.get("best_before")),
        "blocked": data.get("blocked"),
        "line": data.get("line"),
    }


def _day(value: str | None) -> date | None:
    return date.fromisoformat(value) if value else None


@dataclass(frozen=True, slots=True)
class HistoryPage(Page):
    """A page of a product's events, newest first."""

    items: list[HistoryEntry]
    archived_before: Annotated[
        datetime | None,
        Field(
            description="Events before this time have been archived and are left out; only if there are any.",
            examples=["2029-01-01T00:00:00Z"],
            exclude_if=lambda value: value is None,
        ),
    ] = None


class History:
    """Reads histories. The cost of a page does not depend on the length of the history."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def page(self, sku: str, *, limit: int, cursor: str | None) -> HistoryPage:
        """A page of the events of a product, newest first. Raises ProductNotFoundError, InvalidCursorError."""
        pager = KeysetPager("history", {"sku": sku}, PositionKey, (_BEHIND_ALL,))
        (before,) = pager.decode(cursor)
        rows = await self._reader.fetch(_HISTORY, {"sku": sku, "before": before, "limit": limit + 1}, of=sku)
        if not rows:
            raise ProductNotFoundError(sku)
        entries = [row for row in rows if row.number is not None]
        first, *_ = rows
        return HistoryPage(
            items=[HistoryEntry.of(row) for row in entries[:limit]],
            next_cursor=pager.next_cursor([(row.number,) for row in entries], limit),
            # The sequences of a product have no gap.
            count=first.newest - first.oldest + 1 if first.oldest else 0,
            count_is_exact=True,
            archived_before=await self._archived_before(first) if first.newest and first.oldest != 1 else None,
        )

    async def archived_before(self) -> datetime | None:
        """The time before which events have been archived; None: all are here."""
        (row,) = await self._reader.fetch_from_control(_ARCHIVED_BEFORE, {})
        return cast("datetime | None", row.archived_before)

    async def _archived_before(self, row: Row[Any]) -> datetime | None:
        """The time in the row; with several cells, archives are noted in another schema.

        They are noted before events are deleted, so the note of events that the row misses is found.
        """
        noted = cast("datetime | None", row.archived_before)
        return noted if self._reader.is_undivided else await self.archived_before()

    async def of_order(self, order_id: str) -> list[HistoryEntry]:
        """The events of the lines of an order, newest first: how they came where they are, and why.

        If a product had very many events since, some are left out. The first event, the last allocation and the
        shipment of each line are always there.
        """
        parts = await self._reader.fetch_each(_OF_ORDER, {"order_id": order_id})
        rows = newest_first(parts, lambda row: str(json.loads(row.data)["sku"]))
        # An event can be found in several ways.
        entries = {row.message_id: HistoryEntry.of(row) for row in rows}
        return list(entries.values())

    async def of_batch(self, sku: str, ref: str) -> list[HistoryEntry]:
        """The event that recorded a batch and its changes, newest first.

        Changes are looked for among the newest CHANGES_EXAMINED events of the product.
        """
        rows = await self._reader.fetch(_OF_BATCH, {"sku": sku, "ref": ref}, of=sku)
        return [HistoryEntry.of(row) for row in rows]
