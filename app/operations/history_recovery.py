"""What has been published, taken into a database that was restored from a backup.

Such a database stands where it stood when the backup was made. Of what came later it knows nothing, while the readers
of the events do: they would take the next events for old ones, since their numbers are.
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
from app.adapters.postgresql.messages import shard_of
from app.domain.fields import Identifier
from app.integration.cloudevents import parse_leniently

RECORD_TIMEOUT = 30.0
"""Seconds without any record until the broker is taken to be away; aiokafka itself would wait for ever."""
POLL_TIMEOUT_MS = 1000
MAX_RECORDS = 5000

_SEQUENCES = text("SELECT sku, sequence FROM products WHERE sku = ANY(CAST(:skus AS text[]))")
# It is history, and not to be published: nothing points to it from the outbox.
_INSERT_EVENTS = text("""
    INSERT INTO events
        (shard, subject, sequence, message_id, type, data, correlation_id, causation_id, traceparent, created_at)
    VALUES (:shard, :subject, :sequence, :id, :type, :data, :correlation_id, :causation_id, :traceparent, :time)
""")
# A product that came later is known from now on, without any batch: its next event has to have the next number as well.
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
        """What came of both."""
        return ImportResult(self.behind | other.behind, self.foreign + other.foreign)


# What PostgreSQL can keep as a text.
_Text = Annotated[str, Field(pattern=r"^[^\x00]+$")]


class _Event(BaseModel):
    """A `CloudEvent` that this service has published; others may write anything to the topic as well."""

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
    """The records of the topic, as far as it goes now, page by page. Raises KafkaError."""
    # For good, since it is read only once: what is slower is not worth to be begun anew where such a record comes up.
    tolerate_any_header_name()
    # Without a group it reads all partitions, and moves nobody's offsets.
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
    """The next records; None where there are no more before the ends. Raises TimeoutError."""
    async with asyncio.timeout(RECORD_TIMEOUT):
        # What comes back empty may still have gone past a marker of a transaction, which is no record.
        while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
            fetched = await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS, max_records=MAX_RECORDS)
            if fetched:
                return [record for records in fetched.values() for record in records]
    return None


async def import_missing(engine: AsyncEngine, records: Iterable[ConsumerRecord]) -> ImportResult:
    """Remember the events that the products are behind of, and set their clocks."""
    read = [_event(record) for record in records]
    foreign = read.count(None)
    events = [(event.sequence, event) for event in read if event is not None and event.sequence is not None]
    async with engine.begin() as connection:
        skus = list({event.subject for _, event in events})
        clocks = {row.sku: row.sequence for row in await connection.execute(_SEQUENCES, {"skus": skus})}
        unknown = {}
        for sequence, event in events:
            # Whatever comes a second time is the same.
            if sequence > clocks.get(event.subject, 0):
                unknown[event.subject, sequence] = event
        if not unknown:
            return ImportResult(foreign=foreign)
        # In the order of the numbers, since the ids of a product's events are in that order.
        await connection.execute(_INSERT_EVENTS, [_row(unknown[place]) for place in sorted(unknown)])
        last = dict(sorted(unknown))
        await connection.execute(_SET_SEQUENCES, {"skus": list(last), "sequences": list(last.values())})
        return ImportResult(frozenset(last), foreign)


def _event(record: ConsumerRecord) -> _Event | None:
    """The event in the record; None where it is not one of this service."""
    try:
        return _Event.model_validate(parse_leniently(record.headers, record.value))
    except ValueError:
        return None


def _row(event: _Event) -> dict[str, object]:
    return {**event.model_dump(), "shard": shard_of(event.subject)}
