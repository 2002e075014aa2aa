"""The dead letters, for operators."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import begin, connect
from app.adapters.postgresql.messages import decode_headers
from app.integration.dead_letters import DeadLetter

_SELECT = """
    SELECT id, topic, partition, "offset", reason, message_id, attempts, created_at{more}
    FROM dead_letters WHERE id > :after AND (:all OR id = ANY(CAST(:ids AS bigint[])))
    ORDER BY id LIMIT :limit
"""
_SUMMARIES = text(_SELECT.format(more=""))
_LETTERS = text(_SELECT.format(more=', consumer, "timestamp", key, value, headers'))
_DISCARD = text("DELETE FROM dead_letters WHERE id = :id")
_KEEP_FAILING = text("UPDATE dead_letters SET attempts = attempts + 1, reason = :reason WHERE id = :id")

LETTERS_PAGE = 10
"""A letter may be as large as a record of Kafka."""
SUMMARIES_PAGE = 500


@dataclass(frozen=True, slots=True)
class Summary:
    """A letter without the content of its message. The fields have the order of the columns."""

    id: int
    topic: str
    partition: int
    offset: int
    reason: str
    message_id: str | None
    attempts: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """A stored letter: its number, how often it failed, and when it was stored."""

    id: int
    letter: DeadLetter
    attempts: int
    created_at: datetime


class DeadLetterStore:
    """Reads and deletes dead letters. Each method raises DatabaseUnavailableError."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def summaries(self, after: int, ids: Sequence[int] = ()) -> list[Summary]:
        """The next letters by number, at most `SUMMARIES_PAGE`; only those with the ids, where any are given."""
        return [Summary(*tuple(row)) for row in await self._read(_SUMMARIES, after, ids, SUMMARIES_PAGE)]

    async def page(self, after: int, ids: Sequence[int] = ()) -> list[KeptLetter]:
        """All of the next letters by number, at most `LETTERS_PAGE`; only those with the ids, where any are given."""
        return [
            KeptLetter(
                id=row.id,
                letter=DeadLetter(
                    consumer=row.consumer,
                    topic=row.topic,
                    partition=row.partition,
                    offset=row.offset,
                    timestamp=row.timestamp,
                    key=row.key,
                    value=row.value,
                    headers=decode_headers(row.headers),
                    reason=row.reason,
                    message_id=row.message_id,
                ),
                attempts=row.attempts,
                created_at=row.created_at,
            )
            for row in await self._read(_LETTERS, after, ids, LETTERS_PAGE)
        ]

    async def _read(self, select: TextClause, after: int, ids: Sequence[int], limit: int) -> Sequence[Row[Any]]:
        async with connect(self._engine) as connection:
            given = {"after": after, "all": not ids, "ids": list(ids), "limit": limit}
            return (await connection.execute(select, given)).all()

    async def discard(self, letter_id: int) -> None:
        """Delete a letter."""
        async with begin(self._engine) as connection:
            await connection.execute(_DISCARD, {"id": letter_id})

    async def keep_failing(self, letter_id: int, reason: str) -> None:
        """Record that a letter failed once more, and why."""
        async with begin(self._engine) as connection:
            await connection.execute(_KEEP_FAILING, {"id": letter_id, "reason": reason})
