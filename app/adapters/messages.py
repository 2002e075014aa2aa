"""The outbox, the inbox and the dead letters, as the unit of work writes them."""

import base64
import json
import uuid
import zlib
from collections.abc import Iterable
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.integration.dead_letters import DeadLetter
from app.integration.outbound import OutboundMessage
from app.service_layer.ports import Cause

SHARDS = 16
"""How many shards the relays share out; the first migration made as many rows."""

_INSERT_OUTBOX = text("""
    WITH inserted AS (
        INSERT INTO outbox
            (shard, sku, sequence, message_id, type, data, correlation_id, causation_id, traceparent)
        SELECT * FROM unnest(
            CAST(:shard AS smallint[]), CAST(:sku AS text[]), CAST(:sequence AS bigint[]),
            CAST(:message_id AS uuid[]), CAST(:type AS text[]), CAST(:data AS text[]),
            CAST(:correlation_id AS text[]), CAST(:causation_id AS text[]), CAST(:traceparent AS text[])
        )
    )
    SELECT CAST(pg_current_xact_id() AS text)
""")
_COLUMNS = (
    "shard",
    "sku",
    "sequence",
    "message_id",
    "type",
    "data",
    "correlation_id",
    "causation_id",
    "traceparent",
)

_ACCEPT = text("""
    INSERT INTO inbox (message_id) SELECT unnest(CAST(:message_ids AS text[]))
    ON CONFLICT (message_id) DO NOTHING RETURNING message_id
""")

_PRUNE = text("""
    DELETE FROM inbox WHERE message_id IN (
        SELECT message_id FROM inbox WHERE received_at < now() - make_interval(days => :days)
        ORDER BY received_at LIMIT :limit
    )
""")
PRUNE_PAGE = 5000

_KEEP = text("""
    INSERT INTO dead_letters (consumer, topic, partition, "offset", message_id, key, value, headers, reason)
    VALUES (:consumer, :topic, :partition, :offset, :message_id, :key, :value, CAST(:headers AS jsonb), :reason)
    ON CONFLICT DO NOTHING
""")


def shard_of(sku: str) -> int:
    """The shard of a SKU: the same in every process and for ever."""
    return zlib.crc32(sku.encode()) % SHARDS


class SqlOutbox:
    """Implements `Outbox`: inserts the messages at the flush, in the order in which they were added."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._rows: list[tuple[Any, ...]] = []

    def add(self, message: OutboundMessage, cause: Cause) -> None:
        """Publish the message with the commit, under an id that it keeps however often it is sent."""
        self._rows.append(
            (
                shard_of(message.sku),
                message.sku,
                message.sequence,
                uuid.uuid4(),
                message.type,
                message.data,
                cause.correlation_id,
                cause.causation_id,
                cause.traceparent,
            )
        )

    async def flush(self) -> str | None:
        """Insert what was added; returns the id of the transaction, or None where there was nothing to insert."""
        rows, self._rows = self._rows, []
        if not rows:
            return None
        columns = dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))
        transaction_id: str = (await self._connection.execute(_INSERT_OUTBOX, columns)).scalar_one()
        return transaction_id


class SqlInbox:
    """Implements `Inbox`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def accept(self, message_ids: Iterable[str]) -> set[str]:
        """Insert the ids; sorted, so that two consumers that hold the same messages do not wait in a circle."""
        rows = await self._connection.execute(_ACCEPT, {"message_ids": sorted(message_ids)})
        return set(rows.scalars())


class SqlDeadLetterBox:
    """Implements `DeadLetterBox`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._letters: list[DeadLetter] = []

    def add(self, letter: DeadLetter) -> None:
        """Keep the letter with the commit."""
        self._letters.append(letter)

    async def flush(self) -> None:
        """Insert what was added."""
        letters, self._letters = self._letters, []
        if letters:
            await self._connection.execute(_KEEP, [_letter_row(letter) for letter in letters])


def encode_headers(headers: Iterable[tuple[str, bytes]]) -> str:
    """Headers as JSON: pairs, because a name may come twice; base64, because a value may be any bytes."""
    return json.dumps([[name, base64.b64encode(value or b"").decode()] for name, value in headers])


def decode_headers(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, bytes], ...]:
    """The headers behind the JSON of `encode_headers`."""
    return tuple((name, base64.b64decode(value)) for name, value in pairs)


def _letter_row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "consumer": letter.consumer,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "message_id": letter.message_id,
        "key": letter.key,
        "value": letter.value,
        "headers": encode_headers(letter.headers),
        "reason": letter.reason,
    }


async def prune_inbox(engine: AsyncEngine, days: int) -> None:
    """Forget the messages that came longer ago, some thousand at a time, so that no lock is held for long."""
    while True:
        async with engine.begin() as connection:
            result = await connection.execute(_PRUNE, {"days": days, "limit": PRUNE_PAGE})
        if result.rowcount < PRUNE_PAGE:
            return
