"""Imports published events into a database that was restored from a backup.

Such a database lacks everything after the backup. It would reuse the sequences of events that were published since, and
subscribers would skip the new events as repeated ones.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaTimeoutError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.kafka.clients import KafkaConfig, stop
from app.adapters.kafka.tolerant_records import tolerate_any_header_name
from app.adapters.postgresql.connections import begin
from app.adapters.postgresql.messages import shard_of
from app.domain.fields import Identifier
from app.integration.cloudevents import parse_leniently

RECORD_TIMEOUT = 30.0
"""Seconds without a record after which reading fails. aiokafka itself has no limit."""
POLL_TIMEOUT_MS = 1000
MAX_RECORDS = 5000

_SEQUENCES = text("SELECT sku, sequence FROM products WHERE sku = ANY(CAST(:skus AS text[]))")
# The events are history, and not published again: they are not in the outbox.
_INSERT_EVENTS = text("""
    INSERT INTO events
        (shard, subject, sequence, message_id, type, data, correlation_id, causation_id, traceparent, created_at)
    VALUES (:shard, :subject, :sequence, :id, :type, :data, :correlation_id, :causation_id, :traceparent, :time)
""")
# A product that was created after the backup is inserted without batches: its events must be numbered on as well.
_SET_SEQUENCES = text("""
    INSERT INTO products (sku, sequence)
    SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:sequences AS bigint[]))
    ON CONFLICT (sku) DO UPDATE SET sequence = excluded.sequence WHERE products.sequence < excluded.sequence
""")


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The SKUs whose events were missing, and the number of records that this service has not published."""

    behind: frozenset[str] = frozenset()
    foreign: int = 0

    def __add__(self, other: "ImportResult") -> "ImportResult":
        """The sum of two results."""
        return ImportResult(self.behind | other.behind, self.foreign + other.foreign)


# PostgreSQL stores no NUL in text.
_Text = Annotated[str, Field(pattern=r"^[^\x00]+$")]


class _Event(BaseModel):
    """A `CloudEvent` as this service publishes it. Other programs may write anything to the topic."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    type: _Text
    subject: Identifier
    time: AwareDatetime
    sequence: Annotated[int, Field(ge=1, le=2**63 - 1)] | None
    correlation_id: _Text
    causation_id: _Text
    traceparent: _Text | None
    data: _Text


async def read_topic(config: KafkaConfig, topic: str) -> AsyncIterator[list[ConsumerRecord]]:
    """The records of the topic up to its current end, in pages. Raises KafkaError."""
    # From the start: the slower parser costs less than to begin again at a record that needs it.
    tolerate_any_header_name()
    # Without a group it reads all partitions and commits no offsets.
    consumer = AIOKafkaConsumer(topic, **config.connection(), enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        try:
            async with asyncio.timeout(RECORD_TIMEOUT):
                await consumer.start()
                ends = await consumer.end_offsets(consumer.assignment())
            while (page := await _next_page(consumer, ends)) is not None:
                yield page
        except TimeoutError:
            message = f"no record of {topic} within {RECORD_TIMEOUT:.0f} s"
            raise KafkaTimeoutError(message) from None
    finally:
        await stop(consumer)


async def _next_page(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> list[ConsumerRecord] | None:
    """The next records, or None at the ends. Raises TimeoutError."""
    async with asyncio.timeout(RECORD_TIMEOUT):
        # An empty result may have advanced past the marker of a transaction, which is not a record.
        while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
            fetched = await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS, max_records=MAX_RECORDS)
            if fetched:
                return [record for records in fetched.values() for record in records]
    return None


async def import_missing(engine: AsyncEngine, records: Iterable[ConsumerRecord]) -> ImportResult:
    """Insert the events that the database lacks, and set the sequences of their products.

    Raises DatabaseUnavailableError.
    """
    read = [_event(record) for record in records]
    foreign = read.count(None)
    events = [(event.sequence, event) for event in read if event is not None and event.sequence is not None]
    async with begin(engine) as connection:
        skus = list({event.subject for _, event in events})
        known = {row.sku: row.sequence for row in await connection.execute(_SEQUENCES, {"skus": skus})}
        missing = {}
        for sequence, event in events:
            # An event that was published twice is the same both times.
            if sequence > known.get(event.subject, 0):
                missing[event.subject, sequence] = event
        if not missing:
            return ImportResult(foreign=foreign)
        # In the order of their sequences, because the ids of a product's events have that order.
        await connection.execute(_INSERT_EVENTS, [_row(missing[place]) for place in sorted(missing)])
        last = dict(sorted(missing))
        await connection.execute(_SET_SEQUENCES, {"skus": list(last), "sequences": list(last.values())})
        return ImportResult(frozenset(last), foreign)


def _event(record: ConsumerRecord) -> _Event | None:
    """The event in the record, or None if this service has not published it."""
    try:
        return _Event.model_validate(parse_leniently(record.headers, record.value))
    except ValueError:
        return None


def _row(event: _Event) -> dict[str, object]:
    return {**event.model_dump(), "shard": shard_of(event.subject)}
