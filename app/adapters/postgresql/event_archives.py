"""Events that are moved to files, so that the table stays small, and the notes of which file has which.

Archived are all events up to an id. Of one subject, ids have the order of its sequences, so the table keeps the newest
events of each subject without a gap.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import takewhile
from operator import attrgetter

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, LargeBinary, Table, Text, func, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import begin, connect
from app.adapters.postgresql.metadata import metadata

event_archives = Table(
    "event_archives",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("file", Text, nullable=False, comment="its name when it was written"),
    Column("archived_before", DateTime(timezone=True), nullable=False, comment="all events in it are earlier"),
    Column("last_id", BigInteger, nullable=False, comment="all events up to this id are archived"),
    Column("events", BigInteger, nullable=False, comment="in this file"),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the file"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index(None, "archived_before"),
)

ARCHIVED_BEFORE = "(SELECT max(archived_before) FROM event_archives)"
"""The time before which events may be missing in the table; null: none is. In SQL."""

PAGE = 5000
"""How many events a statement reads or deletes, so that it ends soon and holds no lock for long."""

_BOUND = text("""
    SELECT CAST(:day AS date) AT TIME ZONE 'UTC' AS time,
           CAST(:day AS date) < (statement_timestamp() AT TIME ZONE 'UTC')::date AS is_past,
           (SELECT count(*) FROM outbox JOIN events USING (id)
            WHERE created_at < CAST(:day AS date) AT TIME ZONE 'UTC') AS unpublished
""")
_READ = text("""
    SELECT id, created_at < :before AS is_older, row_to_json(events)::text AS event FROM events
    WHERE id > :after ORDER BY id LIMIT :page
""")
_NOTE = text("""
    INSERT INTO event_archives (file, archived_before, last_id, events, digest)
    VALUES (:file, :archived_before, :last_id, :events, :digest)
""")
_DELETE = text("""
    DELETE FROM events USING (SELECT id FROM events WHERE id <= :last_id ORDER BY id LIMIT :page) AS oldest
    WHERE events.id = oldest.id
""")
_LIST = text("SELECT * FROM event_archives ORDER BY number")
_INSERT = text("""
    INSERT INTO events OVERRIDING SYSTEM VALUE
    SELECT * FROM json_populate_recordset(NULL::events, CAST(:events AS json)) ON CONFLICT DO NOTHING
""")
_FORGET = text("DELETE FROM event_archives WHERE number = :number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A file of events. All events up to `last_id` are in it or in an earlier one; `digest` is the file's SHA-256."""

    number: int = 0
    file: str
    archived_before: datetime
    last_id: int
    events: int
    digest: bytes
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the database's clock: its beginning in UTC, and whether it is earlier than today.

    `unpublished` counts the events before it that wait for the relay.
    """

    time: datetime
    is_past: bool
    unpublished: int


class EventArchives:
    """Reads, deletes and restores events of the table. Each method raises DatabaseUnavailableError."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def day(self, day: date) -> Day:
        """What the database knows about the day."""
        async with connect(self._engine) as connection:
            row = (await connection.execute(_BOUND, {"day": day})).one()
        return Day(row.time, row.is_past, row.unpublished)

    async def pages(self, before: datetime) -> AsyncIterator[list[tuple[int, str]]]:
        """The events up to the first one that is not older, in pages: the id, and a JSON object of all columns."""
        after = -1
        while True:
            async with connect(self._engine) as connection:
                arguments = {"after": after, "before": before, "page": PAGE}
                rows = (await connection.execute(_READ, arguments)).all()
            page = [(row.id, row.event) for row in takewhile(attrgetter("is_older"), rows)]
            if page:
                yield page
            if len(page) < PAGE:
                return
            after = page[-1][0]

    async def note(self, archive: Archive) -> None:
        """Store that the file has the events. From now on they can be deleted."""
        async with begin(self._engine) as connection:
            arguments = {name: getattr(archive, name) for name in ("file", "archived_before", "last_id", "events")}
            await connection.execute(_NOTE, arguments | {"digest": archive.digest})

    async def delete(self, last_id: int) -> int:
        """Delete the events up to the id. Returns how many there were."""
        deleted = 0
        while True:
            async with begin(self._engine) as connection:
                result = await connection.execute(_DELETE, {"last_id": last_id, "page": PAGE})
            deleted += result.rowcount
            if result.rowcount < PAGE:
                return deleted

    async def archives(self) -> list[Archive]:
        """The archives whose events are not in the table, in the order in which they were made."""
        async with connect(self._engine) as connection:
            return [Archive(**row) for row in (await connection.execute(_LIST)).mappings()]

    async def insert(self, events: Sequence[str]) -> None:
        """Insert events as `pages` gave them. Those that the table has are left alone."""
        async with begin(self._engine) as connection:
            await connection.execute(_INSERT, {"events": f"[{','.join(events)}]"})

    async def forget(self, archive: Archive) -> None:
        """Store that the events of the archive are in the table."""
        async with begin(self._engine) as connection:
            await connection.execute(_FORGET, {"number": archive.number})
