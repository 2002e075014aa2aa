"""The rows of the outbox, as a relay reads them."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

_COLUMNS = """e.id, e.subject, e.sequence, e.place, e.message_id, e.type, e.data, e.correlation_id, e.causation_id,
           e.traceparent, e.created_at"""
_EVENT = "CROSS JOIN LATERAL (SELECT * FROM events WHERE events.id = waiting.id LIMIT 1) AS e"
READ = f"""
    SELECT {_COLUMNS}
    FROM (
        SELECT id FROM outbox WHERE shard = ANY($1::smallint[]) AND id > $2 ORDER BY id LIMIT $3
    ) AS waiting
    {_EVENT}
    ORDER BY e.id
"""  # noqa: S608 - put together from constants
READ_THESE = f"SELECT {_COLUMNS} FROM unnest($1::bigint[]) AS waiting(id) {_EVENT}"  # noqa: S608 - as above


class OutboxRow(NamedTuple):
    """A committed event that is not known to be published."""

    id: int
    subject: str
    sequence: int | None
    place: int | None
    message_id: uuid.UUID
    type: str
    data: str
    correlation_id: str
    causation_id: str
    traceparent: str | None
    created_at: datetime


class OutboxPage(NamedTuple):
    """Rows in the order of publication. All rows with ids up to `reached` were read; infinity: no others were there."""

    rows: Sequence[OutboxRow]
    reached: float
