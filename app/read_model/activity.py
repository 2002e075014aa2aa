"""What was decided today: events by the hour, the newest events, and the newest changes of batches.

Events have no index on their time, because it would have to be written with each of them. Their ids are nearly in the
order of time, so the first event of today is found by bisection of the ids.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Annotated, Any, Self

from pydantic import Field
from sqlalchemy import Row, text

from app.adapters.postgresql.tables import CHANGES_OF_BATCHES
from app.integration.fields import Sku
from app.read_model.history import COLUMNS, HistoryEntry, fields_of
from app.read_model.merging import newest_first
from app.read_model.reader import Reader, Rows

EXAMINED_LIMIT = 50_000
"""How many events of today are examined at a time, the newest ones first."""

SETTLED = timedelta(minutes=2)
"""How long after its end an hour has all its events: longer than a command takes."""

NEWEST = 20
_NEWEST_EXAMINED = 500
_DECISIONS = ", ".join(
    f"'{name}.v1'"
    for name in (
        "line_allocated",
        "line_held",
        "line_backordered",
        "line_deallocated",
        "line_shipped",
        "hold_released",
        "allocation_failed",
        "batch_created",
        "batch_quantity_changed",
        "batch_eta_changed",
        "batch_changed",
    )
)
_HOUR = timedelta(hours=1)
_BOUNDS = ("midnight", "present")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# In the time zone of the connection.
_MIDNIGHT = "date_trunc('day', statement_timestamp())"
_SINCE = f"greatest({_MIDNIGHT}, CAST(:since AS timestamptz))"


def _hour_of(time: str) -> str:
    """The beginning of the hour. Hours are counted from midnight, because clocks can be changed by half an hour."""
    return f"date_bin('1 hour', {time}, {_MIDNIGHT})"


# A transaction can commit after one with a greater id and a later time; a minute is longer than commands take.
_BISECTION = f"""
    WITH RECURSIVE bisection(low, high) AS (
        SELECT min(id), max(id) + 1 FROM events
        UNION ALL
        SELECT CASE WHEN is_earlier THEN middle + 1 ELSE low END, CASE WHEN is_earlier THEN high ELSE middle END
        FROM (SELECT low, high, (low + high) / 2 AS middle FROM bisection WHERE low < high) AS step
        CROSS JOIN LATERAL (
            SELECT (SELECT created_at FROM events WHERE id >= middle ORDER BY id LIMIT 1)
                   < {_SINCE} - interval '1 minute' AS is_earlier
        ) AS probe
    )
    SELECT max(low) FROM bisection
"""  # noqa: S608 - constants

_HOURS = text(f"""
    SELECT {_MIDNIGHT} AS midnight, {_hour_of("statement_timestamp()")} AS present,
           statement_timestamp() AS now, hours.*
    FROM (SELECT) AS always LEFT JOIN (
        SELECT {_hour_of("created_at")} AS hour,
               count(*) AS examined,
               count(*) FILTER (WHERE type = 'line_allocated.v1') AS allocations,
               count(*) FILTER (WHERE type = 'line_backordered.v1') AS backorders,
               count(*) FILTER (
                   WHERE CASE WHEN type IN ('batch_created.v1', 'batch_eta_changed.v1')
                         THEN data::json ->> 'eta' IS NULL END
               ) AS arrivals
        FROM (
            SELECT type, created_at, data FROM events WHERE id >= ({_BISECTION}) ORDER BY id DESC LIMIT {EXAMINED_LIMIT}
        ) AS newest
        WHERE created_at >= {_SINCE}
        GROUP BY 1
    ) AS hours ON true
    ORDER BY hour
""")  # noqa: S608 - constants

_NEWEST = text(f"""
    SELECT * FROM (
        SELECT id, subject, {COLUMNS} FROM events ORDER BY id DESC LIMIT {_NEWEST_EXAMINED}
    ) AS newest
    WHERE type IN ({_DECISIONS}) AND number IS NOT NULL ORDER BY id DESC LIMIT {NEWEST}
""")  # noqa: S608 - constants


_CHANGES = text(f"""
    SELECT id, subject, {COLUMNS} FROM events
    WHERE type IN {CHANGES_OF_BATCHES} ORDER BY id DESC LIMIT {NEWEST}
""")  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(HistoryEntry):
    """An event of a product, and its SKU."""

    sku: Sku

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """The event of the row."""
        return cls(sku=row.subject, **fields_of(row))


@dataclass(frozen=True, slots=True)
class HourOfActivity:
    """An hour, and the number of its events."""

    time: Annotated[datetime, Field(description="The beginning of the hour.", examples=["2030-01-01T12:00:00Z"])]
    allocations: Annotated[int, Field(ge=0, description="`line_allocated.v1` events.", examples=[12])]
    backorders: Annotated[int, Field(ge=0, description="`line_backordered.v1` events.", examples=[2])]
    arrivals: Annotated[
        int, Field(ge=0, description="Batches that were recorded in the warehouse, or arrived there.", examples=[1])
    ]


@dataclass(frozen=True, slots=True)
class Activity:
    """What was decided today."""

    time: Annotated[datetime, Field(description="The time of the counts.", examples=["2030-01-01T12:00:00Z"])]
    hours: Annotated[
        list[HourOfActivity], Field(description="The hours of today up to the present one; each one counted.")
    ]
    hours_are_complete: Annotated[
        bool,
        Field(
            description="false if today has too many events to count: then the list begins with the first hour whose "
            "events were all counted, or has only the present hour with a lower bound.",
            examples=[True],
        ),
    ]
    newest: Annotated[list[Decision], Field(description="The newest events of lines and batches, newest first.")]
    changes: Annotated[
        list[Decision],
        Field(
            description=f"The newest {NEWEST} changes of the quantity, the arrival or the terms of batches, newest "
            "first. They may be older than today."
        ),
    ]


class Activities:
    """Reads the activity. Hours that are over and were counted are kept in memory, so that they are counted once.

    With several cells, each examines its own events up to the limit.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._settled: dict[datetime, HourOfActivity] = {}

    async def read(self) -> Activity:
        """The activity of today. Raises DatabaseUnavailableError."""
        since = max(self._settled, default=_EPOCH) + _HOUR
        parts = await self._reader.fetch_each(_HOURS, {"since": since})
        newest = newest_first(await self._reader.fetch_each(_NEWEST, {}), attrgetter("subject"))
        changes = newest_first(await self._reader.fetch_each(_CHANGES, {}), attrgetter("subject"))
        # Cells may answer before and after the end of an hour. It counts as over when it is over in all of them.
        midnight, present = (max(getattr(part[0], name) for part in parts).astimezone(UTC) for name in _BOUNDS)
        now = min(part[0].now for part in parts).astimezone(UTC)
        kept = {time: hour for time, hour in self._settled.items() if time >= midnight}
        counted = [{row.hour.astimezone(UTC): row for row in part if row.hour is not None} for part in parts]
        first = max(midnight, since)
        cut = [hours for hours in counted if sum(row.examined for row in hours.values()) >= EXAMINED_LIMIT]
        if cut:
            # Of the earliest hour that was examined some events were left out, and all of the hours before.
            first, kept = min(present, max(map(min, cut)) + _HOUR), {}
        hours = [first + number * _HOUR for number in range(1 + (present - first) // _HOUR)]
        found = kept | {hour: _hour(hour, [each[hour] for each in counted if hour in each]) for hour in hours}
        self._settled = {time: hour for time, hour in found.items() if time + _HOUR + SETTLED <= now}
        return Activity(
            time=now,
            hours=list(found.values()),
            hours_are_complete=not cut and min(found) == midnight,
            newest=[Decision.of(row) for row in newest[:NEWEST]],
            changes=[Decision.of(row) for row in changes[:NEWEST]],
        )


def _hour(hour: datetime, parts: Rows) -> HourOfActivity:
    sums = (sum(getattr(row, name) for row in parts) for name in ("allocations", "backorders", "arrivals"))
    return HourOfActivity(hour, *sums)
