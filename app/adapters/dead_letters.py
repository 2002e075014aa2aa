"""The dead letters, for those who look after them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.messages import decode_headers
from app.integration.dead_letters import DeadLetter

_LIST = text("""
    SELECT id, consumer, topic, partition, "offset", "timestamp", key, value, headers, reason, message_id,
           attempts, created_at
    FROM dead_letters WHERE id > :after AND (:all OR id = ANY(CAST(:ids AS bigint[])))
    ORDER BY id LIMIT :limit
""")
_DISCARD = text("DELETE FROM dead_letters WHERE id = :id")
_KEEP_FAILING = text("UPDATE dead_letters SET attempts = attempts + 1, reason = :reason WHERE id = :id")

PAGE = 500


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """A letter in the box: its number, how often it was given up, and since when it lies there."""

    id: int
    letter: DeadLetter
    attempts: int
    created_at: datetime


class DeadLetterStore:
    """Reads and empties the box."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def page(self, after: int, ids: Sequence[int] = ()) -> list[KeptLetter]:
        """The next letters by number, at most `PAGE`; only those with the ids, where any are given."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(_LIST, {"after": after, "all": not ids, "ids": list(ids), "limit": PAGE})
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
                for row in rows
            ]

    async def discard(self, letter_id: int) -> None:
        """Throw a letter away."""
        async with self._engine.begin() as connection:
            await connection.execute(_DISCARD, {"id": letter_id})

    async def keep_failing(self, letter_id: int, reason: str) -> None:
        """Note that a letter was given up once more, and why."""
        async with self._engine.begin() as connection:
            await connection.execute(_KEEP_FAILING, {"id": letter_id, "reason": reason})
