"""The order of pending events by subject and sequence, whatever their ids are.

The ids of one subject ascend as long as all are drawn on one server. With several cells they may be drawn on the server
that holds the cell, and each server of Citus draws from a range of its own. So after a cell has moved, new events may
have smaller ids than older ones.

The events of a subject are committed in their order, because its product or order is locked. So all pending rows of a
subject that one statement reads are a run without a gap, and only a page that may lack some has to be completed. With
one cell that is a page that continues others: between two pages events may be committed on both sides of their
boundary. The events of an order have no sequence; in its place they have their `place`.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import asyncpg

from app.adapters.postgresql.cells import qualified
from app.adapters.postgresql.outbox_rows import READ_THESE, OutboxRow

# The pending events before the given ones: the one before each, the one before that, until one is not pending.
_EARLIER = """
    WITH RECURSIVE earlier AS (
        SELECT e.id, e.subject, e.{number} AS number
        FROM unnest($1::text[], $2::bigint[]) AS first(subject, number)
        JOIN events AS e ON e.subject = first.subject AND e.{number} = first.number - 1
        JOIN outbox AS o ON o.id = e.id
      UNION ALL
        SELECT e.id, e.subject, e.{number}
        FROM earlier
        JOIN events AS e ON e.subject = earlier.subject AND e.{number} = earlier.number - 1
        JOIN outbox AS o ON o.id = e.id
    )
    SELECT id, subject FROM earlier ORDER BY subject, number
"""

Series = tuple[str, bool]
"""A subject, and whether its events have sequences. A SKU and an order may have the same name."""


class OutboxOrder:
    """Completes pages of pending rows, in the schema if there are several cells."""

    def __init__(self, schema: str | None) -> None:
        self._earlier = {
            has_sequence: qualified(_EARLIER.format(number="sequence" if has_sequence else "place"), schema)
            for has_sequence in (True, False)
        }
        self._read_these = qualified(READ_THESE, schema)

    async def complete(
        self, connection: asyncpg.Connection, rows: Sequence[OutboxRow], limit: int
    ) -> Sequence[OutboxRow]:
        """Replace the rows of each subject whose earlier events are pending by these, at most `limit` of them.

        Also leave out the rows behind a gap. The result is in the order of publication, and empty only if `rows` is.
        """
        firsts: defaultdict[bool, list[OutboxRow]] = defaultdict(list)
        kept: list[OutboxRow] = []
        for (_, has_sequence), its_rows in _by_series(rows).items():
            firsts[has_sequence].append(its_rows[0])
            kept += _without_gap(its_rows)
        missing: list[int] = []
        incomplete: set[Series] = set()
        for has_sequence, first in firsts.items():
            subjects, numbers = [row.subject for row in first], [_number(row) for row in first]
            found = await connection.fetch(self._earlier[has_sequence], subjects, numbers)
            missing += [row["id"] for row in found]
            incomplete |= {(row["subject"], has_sequence) for row in found}
        if missing:
            earlier = await connection.fetch(self._read_these, missing[:limit])
            kept = [row for row in kept if _series(row) not in incomplete] + [OutboxRow(*row) for row in earlier]
        return in_sequence(kept)


def in_sequence(rows: Iterable[OutboxRow]) -> list[OutboxRow]:
    """The rows by subject, those of each subject in the order of publication."""
    return [row for its_rows in _by_series(rows).values() for row in its_rows]


def _by_series(rows: Iterable[OutboxRow]) -> dict[Series, list[OutboxRow]]:
    series: defaultdict[Series, list[OutboxRow]] = defaultdict(list)
    for row in rows:
        series[_series(row)].append(row)
    for its_rows in series.values():
        its_rows.sort(key=lambda row: (_number(row), row.id))
    return series


def _series(row: OutboxRow) -> Series:
    return row.subject, row.sequence is not None


def _number(row: OutboxRow) -> int:
    # A row without either was written by a release without places.
    return (row.place or 0) if row.sequence is None else row.sequence


def _without_gap(rows: Sequence[OutboxRow]) -> Iterable[OutboxRow]:
    """The rows up to the first gap: an event that is missing there may be pending as well."""
    last = _number(rows[0])
    for row in rows:
        if _number(row) > last + 1:
            return
        last = _number(row)
        yield row
