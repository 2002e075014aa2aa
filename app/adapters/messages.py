"""The outbox, the inbox and the dead letters, as the unit of work writes them."""

import base64
import json
import zlib
from collections.abc import Iterable

import asyncpg
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.statements import Row
from app.integration.dead_letters import DeadLetter, Header
from app.integration.outbound import OutboundMessage
from app.service_layer.ports import Cause

SHARDS = 16
"""How many shards the relays share out; the first migration made as many rows."""

_ACCEPT = """
    INSERT INTO inbox (message_id) SELECT unnest($1::text[])
    ON CONFLICT (message_id) DO NOTHING RETURNING message_id
"""

_PRUNE = text("""
    DELETE FROM inbox WHERE message_id IN (
        SELECT message_id FROM inbox WHERE received_at < now() - make_interval(hours => :hours)
        ORDER BY received_at LIMIT :limit
    )
""")
PRUNE_PAGE = 5000


def shard_of(subject: str) -> int:
    """The shard of a SKU or an order: the same in every process and for ever."""
    return zlib.crc32(subject.encode()) % SHARDS


class SqlOutbox:
    """Implements `Outbox`: keeps the messages, in the order in which they were added, until the commit."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def add(self, message: OutboundMessage, cause: Cause) -> None:
        """Publish the message with the commit. The row gives it its id, which it keeps however often it is sent."""
        self._rows.append(
            (
                shard_of(message.subject),
                message.subject,
                message.sequence,
                message.type,
                message.data,
                cause.correlation_id,
                cause.causation_id,
                cause.traceparent,
                cause.principal,
            )
        )

    def changes(self) -> dict[str, list[Row]]:
        """What was added, and that all of it is to be published."""
        return {"insert_events": self._rows, "insert_outbox": [()] if self._rows else []}


class SqlInbox:
    """Implements `Inbox`."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def accept(self, message_ids: Iterable[str]) -> set[str]:
        """Insert the ids; sorted, so that two consumers that hold the same messages do not wait in a circle."""
        rows = await self._connection.fetch(_ACCEPT, sorted(message_ids))
        return {row["message_id"] for row in rows}


class SqlDeadLetterBox:
    """Implements `DeadLetterBox`: keeps the letters until the commit."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def add(self, letter: DeadLetter) -> None:
        """Keep the letter with the commit."""
        self._rows.append(
            (
                letter.consumer,
                letter.topic,
                letter.partition,
                letter.offset,
                letter.timestamp,
                letter.message_id,
                letter.key,
                letter.value,
                encode_headers(letter.headers),
                letter.reason,
            )
        )

    def changes(self) -> dict[str, list[Row]]:
        """What was added."""
        return {"insert_dead_letters": self._rows}


def encode_headers(headers: Iterable[Header]) -> str:
    """Headers as JSON: pairs, because a name may come twice; base64, because a value may be any bytes."""
    return json.dumps([[name, None if value is None else base64.b64encode(value).decode()] for name, value in headers])


def decode_headers(pairs: Iterable[tuple[str, str | None]]) -> tuple[Header, ...]:
    """The headers behind the pairs of `encode_headers`."""
    return tuple((name, None if value is None else base64.b64decode(value)) for name, value in pairs)


async def prune_inbox(engine: AsyncEngine, days: int) -> None:
    """Forget the messages that came longer ago."""
    await prune(engine, _PRUNE, 24 * days)


async def prune(engine: AsyncEngine, statement: TextClause, hours: int) -> None:
    """Delete what is older, some thousand rows at a time, so that no lock is held for long."""
    while True:
        async with engine.begin() as connection:
            result = await connection.execute(statement, {"hours": hours, "limit": PRUNE_PAGE})
        if result.rowcount < PRUNE_PAGE:
            return
