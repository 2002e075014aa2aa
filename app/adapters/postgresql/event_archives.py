"""Events that are moved to files, so that the table stays small, and the notes of which file has which.

Archived are all events up to an id. Of one subject, ids have the order of its sequences, so the table keeps the newest
events of each subject without a gap; with several cells, as far as the clocks of their servers agree. Each cell has an
id of its own, and a note of it in its own schema. With several cells, the schema `control` has a note of the file as a
whole.
"""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import takewhile
from operator import attrgetter

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.cells import CONTROL, Cells, qualified
from app.adapters.postgresql.connections import begin, connect
from app.adapters.postgresql.fan_out import in_each

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
_NOTE = """
    INSERT INTO event_archives (file, archived_before, last_id, events, digest)
    VALUES (:file, :archived_before, :last_id, :events, :digest)
"""
_DELETE = text("""
    DELETE FROM events USING (SELECT id FROM events WHERE id <= :last_id ORDER BY id LIMIT :page) AS oldest
    WHERE events.id = oldest.id
""")
_LIST = text("SELECT * FROM event_archives ORDER BY number")
_LAST_ID = text("SELECT last_id FROM event_archives ORDER BY number DESC LIMIT 1")
_INSERT = text("""
    INSERT INTO events OVERRIDING SYSTEM VALUE
    SELECT * FROM json_populate_recordset(NULL::events, CAST(:events AS json)) ON CONFLICT DO NOTHING
""")
_FORGET = "DELETE FROM event_archives WHERE digest = :digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A file of events. `digest` is the file's SHA-256.

    In the note of a cell, `last_id` is the id up to which all of its events are in this file or in an earlier one.
    """

    number: int = 0
    file: str
    archived_before: datetime
    last_id: int
    events: int
    digest: bytes
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The events of one cell in a file: their number, and the largest id."""

    cell: int
    last_id: int
    events: int


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the database's clock: its beginning in UTC, and whether it is earlier than today.

    `unpublished` counts the events before it that wait for the relay.
    """

    time: datetime
    is_past: bool
    unpublished: int


class EventArchives:
    """Reads, deletes and restores events of the tables. Each method raises DatabaseUnavailableError."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self.cells = range(cells.map.number)

    async def day(self, day: date) -> Day:
        """What the database knows about the day."""

        async def ask(engine: AsyncEngine) -> Day:
            async with connect(engine) as connection:
                row = (await connection.execute(_BOUND, {"day": day})).one()
            return Day(row.time, row.is_past, row.unpublished)

        known = await in_each(self._cells.engines, ask)
        return Day(known[0].time, all(each.is_past for each in known), sum(each.unpublished for each in known))

    async def pages(self, cell: int, before: datetime) -> AsyncIterator[list[tuple[int, str]]]:
        """The events of the cell up to the first one that is not older, in pages: the id, and all columns as JSON."""
        after = -1
        while True:
            async with connect(self._cells.engines[cell]) as connection:
                arguments = {"after": after, "before": before, "page": PAGE}
                rows = (await connection.execute(_READ, arguments)).all()
            page = [(row.id, row.event) for row in takewhile(attrgetter("is_older"), rows)]
            if page:
                yield page
            if len(page) < PAGE:
                return
            after = page[-1][0]

    async def note(self, file: str, archived_before: datetime, digest: bytes, parts: Sequence[Part]) -> None:
        """Store that the file has the events, in one transaction. From now on they can be deleted."""
        notes = {self._cells.schemas[part.cell]: (part.last_id, part.events) for part in parts}
        if len(self.cells) > 1:
            notes[CONTROL] = (0, sum(part.events for part in parts))
        async with begin(self._cells.control) as connection:
            for schema, (last_id, events) in notes.items():
                arguments = {"file": file, "archived_before": archived_before, "last_id": last_id, "events": events}
                await connection.execute(text(qualified(_NOTE, schema)), arguments | {"digest": digest})

    async def last_id(self, cell: int) -> int | None:
        """The id up to which the events of the cell are archived; None: none is."""
        async with connect(self._cells.engines[cell]) as connection:
            last_id: int | None = (await connection.execute(_LAST_ID)).scalar_one_or_none()
            return last_id

    async def delete(self, cell: int, last_id: int) -> int:
        """Delete the events of the cell up to the id. Returns how many there were."""
        deleted = 0
        while True:
            async with begin(self._cells.engines[cell]) as connection:
                result = await connection.execute(_DELETE, {"last_id": last_id, "page": PAGE})
            deleted += result.rowcount
            if result.rowcount < PAGE:
                return deleted

    async def archives(self) -> list[Archive]:
        """The archives whose events are not in the tables, in the order in which they were made."""
        async with connect(self._cells.control) as connection:
            return [Archive(**row) for row in (await connection.execute(_LIST)).mappings()]

    async def insert(self, events: Sequence[str]) -> None:
        """Insert events as `pages` gave them, each in the cell of its subject. Those that the table has stay."""
        of_cell: defaultdict[int, list[str]] = defaultdict(list)
        for event in events:
            of_cell[self._cells.map.of(json.loads(event)["subject"])].append(event)
        for cell, its_events in of_cell.items():
            async with begin(self._cells.engines[cell]) as connection:
                await connection.execute(_INSERT, {"events": f"[{','.join(its_events)}]"})

    async def forget(self, archive: Archive) -> None:
        """Store that the events of the archive are in the tables."""
        async with begin(self._cells.control) as connection:
            schemas = self._cells.schemas if len(self.cells) == 1 else (*self._cells.schemas, CONTROL)
            for schema in schemas:
                await connection.execute(text(qualified(_FORGET, schema)), {"digest": archive.digest})
