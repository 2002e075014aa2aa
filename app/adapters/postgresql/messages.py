"""The outbox, which stores events in `events`, the inbox and the dead letters, as the unit of work writes them."""

import base64
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from operator import attrgetter

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import begin
from app.adapters.postgresql.event_ids import EventIds
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.rows import EventRow
from app.adapters.postgresql.writes import INSERT_EVENTS, Writes
from app.integration.dead_letters import DeadLetter, Header
from app.integration.inbound import ReceivedMessage
from app.integration.outbound import OutboundMessage
from app.service_layer.ports import Cause, Receipt

SHARDS = 16
"""How many shards the relays share out; the first migration made as many rows."""

# A message has its id as key, unless a message of another source has that key: then a line break, which no id has, and
# a digest of the source follow. So a release without sources finds every id that this one has received.
_OTHER_KEY = r"given.id || E'\n' || encode(sha256(convert_to(given.source, 'UTF8')), 'hex')"
_GIVEN = "unnest($1::text[], $2::text[], $3::bytea[]) AS given(source, id, content)"

# Insert the messages, and return those that were not inserted with the rows that keep them out: `first` has the id as
# its key, `own` the other key. What another transaction has inserted meanwhile keeps them out and does not show yet.
# `present` is the time of the transaction.
_ACCEPT = f"""
    WITH accepted AS (
        INSERT INTO inbox (message_id, source, content) SELECT id, source, content FROM {_GIVEN}
        ON CONFLICT (message_id) DO NOTHING RETURNING message_id, source
    )
    SELECT given.source, given.id, first.message_id IS NOT NULL AS shows,
           first.source IS NULL OR first.source = given.source AS is_same, first.content, first.received_at,
           own.content AS own_content, own.received_at AS own_received_at, now() AS present
    FROM {_GIVEN}
    LEFT JOIN LATERAL (SELECT * FROM inbox WHERE inbox.message_id = given.id LIMIT 1) AS first ON true
    LEFT JOIN LATERAL (
        SELECT * FROM inbox WHERE first.source <> given.source AND inbox.message_id = {_OTHER_KEY} LIMIT 1
    ) AS own ON true
    WHERE NOT EXISTS (
        SELECT FROM accepted WHERE accepted.message_id = given.id AND accepted.source = given.source
    )
"""  # noqa: S608 - put together from constants

# Insert messages whose ids are the keys of messages of other sources. The row that has the plain id is
# refreshed before, so that it is not pruned first: without it, a repeated message would not be found under its own key.
_REFRESH = "UPDATE inbox SET received_at = $2 WHERE message_id = ANY($1::text[]) RETURNING message_id"
_ACCEPT_OTHERS = f"""
    INSERT INTO inbox (message_id, source, content)
    SELECT {_OTHER_KEY}, given.source, given.content FROM {_GIVEN}
    ON CONFLICT (message_id) DO NOTHING RETURNING source, split_part(message_id, E'\\n', 1) AS id
"""  # noqa: S608 - put together from constants

_KEEP = """
    INSERT INTO dead_letters
    (consumer, topic, partition, "offset", "timestamp", message_id, key, value, headers, reason, content)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING RETURNING id
"""

# A row is stored under the id, or under `_OTHER_KEY`; delete it under either.
_WITHDRAW = f"""
    DELETE FROM inbox USING {_GIVEN}
    WHERE inbox.message_id = ANY (ARRAY[given.id, {_OTHER_KEY}]) AND inbox.source = given.source
"""  # noqa: S608 - put together from constants

_PRUNE = text("""
    DELETE FROM inbox WHERE message_id IN (
        SELECT message_id FROM inbox WHERE received_at < :time ORDER BY received_at LIMIT :limit
    ) AND received_at < :time
""")
_TIME_TO_PRUNE_TO = text("SELECT now() - make_interval(hours => :hours)")
PRUNE_PAGE = 5000


def shard_of(subject: str) -> int:
    """The shard of a SKU or an order: the same in every process and release."""
    return zlib.crc32(subject.encode()) % SHARDS


class SqlOutbox:
    """Implements `Outbox`: keeps the messages, in the order in which they were added, until they are written."""

    def __init__(self, ids: EventIds) -> None:
        self._ids = ids
        self._messages: list[tuple[OutboundMessage, Cause]] = []

    def add(self, message: OutboundMessage, cause: Cause) -> None:
        """Keep the message. Its row has an id, which stays the same however often it is sent."""
        self._messages.append((message, cause))

    async def take_changes(self) -> Writes:
        """The writes of what was added since the last call: the events, and with each a pointer in the outbox."""
        messages, self._messages = self._messages, []
        places: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(1))
        rows = [
            # By position: keywords take twice as long.
            EventRow(
                event_id,
                shard_of(message.subject),
                message.subject,
                message.sequence,
                message.type,
                message.data,
                cause.correlation_id,
                cause.causation_id,
                cause.traceparent,
                cause.principal,
                next(places[message.subject]) if message.sequence is None else None,
            )
            for event_id, (message, cause) in zip(await self._ids.take(len(messages)), messages, strict=True)
        ]
        return {INSERT_EVENTS: rows}


class SqlInbox:
    """Implements `Inbox`."""

    def __init__(self, connection: PipelinedConnection) -> None:
        self._connection = connection

    async def accept(self, messages: Sequence[ReceivedMessage]) -> dict[tuple[str, str], Receipt]:
        """Insert the messages. One statement, unless a source uses the id of another or two consumers meet.

        Sorted, so that two consumers that hold the same messages do not wait for each other in a circle.
        """
        receipts: dict[tuple[str, str], Receipt] = {}
        remaining = sorted(messages, key=attrgetter("id", "source"))
        while remaining:
            others, unsettled, present = set(), set(), None
            for row in await self._connection.fetch(_ACCEPT, *_columns(remaining)):
                identity, present = (row["source"], row["id"]), row["present"]
                if not row["shows"]:
                    unsettled.add(identity)
                elif row["is_same"]:
                    receipts[identity] = Receipt(row["content"], row["received_at"])
                elif row["own_received_at"] is not None:
                    receipts[identity] = Receipt(row["own_content"], row["own_received_at"])
                else:
                    others.add(identity)
            if others:
                refreshed = await self._connection.fetch(_REFRESH, [message_id for _, message_id in others], present)
                ids = {row["message_id"] for row in refreshed}
                rows = [message for message in remaining if message.identity in others and message.id in ids]
                accepted = await self._connection.fetch(_ACCEPT_OTHERS, *_columns(rows))
                unsettled |= others - {(row["source"], row["id"]) for row in accepted}
            # The next statement sees what was committed while this one waited.
            remaining = [message for message in remaining if message.identity in unsettled]
        return receipts

    async def withdraw(self, messages: Sequence[ReceivedMessage]) -> None:
        """Delete messages that this transaction has inserted."""
        await self._connection.execute(_WITHDRAW, *_columns(messages))


def _columns(messages: Iterable[ReceivedMessage]) -> tuple[list[str], list[str], list[bytes]]:
    return (
        [message.source for message in messages],
        [message.id for message in messages],
        [message.content for message in messages],
    )


class SqlDeadLetterBox:
    """Implements `DeadLetterBox`."""

    def __init__(self, connection: PipelinedConnection) -> None:
        self._connection = connection
        self.has_written = False

    async def add(self, letter: DeadLetter) -> bool:
        """Insert the letter at once, because only the database knows whether it is there already."""
        inserted = await self._connection.fetchval(
            _KEEP,
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
            letter.content,
        )
        self.has_written |= inserted is not None
        return inserted is not None


def encode_headers(headers: Iterable[Header]) -> str:
    """Headers as JSON: pairs, because a name may come twice; base64, because a value may be any bytes."""
    return json.dumps([[name, None if value is None else base64.b64encode(value).decode()] for name, value in headers])


def decode_headers(pairs: Iterable[tuple[str, str | None]]) -> tuple[Header, ...]:
    """The headers behind the pairs of `encode_headers`."""
    return tuple((name, None if value is None else base64.b64decode(value)) for name, value in pairs)


async def prune_inbox(engine: AsyncEngine, days: int) -> None:
    """Delete the messages that were received more than `days` days ago."""
    await prune(engine, _PRUNE, 24 * days)


async def prune(engine: AsyncEngine, statement: TextClause, hours: int, *, page: int = PRUNE_PAGE) -> None:
    """Delete what is older, a page of rows at a time, so that no lock is held for long."""
    async with begin(engine) as connection:
        time = (await connection.execute(_TIME_TO_PRUNE_TO, {"hours": hours})).scalar_one()
    while True:
        async with begin(engine) as connection:
            result = await connection.execute(statement, {"time": time, "limit": page})
        if result.rowcount < page:
            return
