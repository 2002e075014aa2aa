"""Imports published events into a database that was restored from a backup.

Such a database lacks everything after the backup. It would reuse the sequences of events that were published since, and
subscribers would skip the new events as repeated ones.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaTimeoutError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.adapters.kafka.clients import KafkaConfig
from app.adapters.kafka.lifecycle import stop
from app.adapters.kafka.tolerant_records import tolerate_any_header_name
from app.adapters.postgresql.missing_events import add_missing_events, contradicted
from app.bootstrap import Service
from app.domain.fields import Identifier
from app.integration.cloudevents import parse_leniently

RECORD_TIMEOUT = 30.0
"""Seconds without a record after which reading fails. aiokafka itself has no limit."""
POLL_TIMEOUT_MS = 1000
MAX_RECORDS = 5000


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The SKUs whose events were missing, and the number of records that this service has not published.

    `forked` are the SKUs with a published event whose sequence the history has for another one: commits were lost, and
    the service went on before the import.
    """

    behind: frozenset[str] = frozenset()
    foreign: int = 0
    forked: frozenset[str] = frozenset()

    def __add__(self, other: "ImportResult") -> "ImportResult":
        """The sum of two results."""
        return ImportResult(self.behind | other.behind, self.foreign + other.foreign, self.forked | other.forked)


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


async def import_missing(service: Service, records: Iterable[ConsumerRecord]) -> ImportResult:
    """Insert the events that the database lacks, and set the sequences of their products.

    Raises DatabaseUnavailableError.
    """
    read = [_event(record) for record in records]
    events = [event.model_dump() for event in read if event is not None and event.sequence is not None]
    of_cell: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        of_cell[service.cells.map.of(event["subject"])].append(event)
    result = ImportResult(foreign=read.count(None))
    for cell, its_events in of_cell.items():
        engine = service.cells.engines[cell]
        behind = await add_missing_events(engine, its_events)
        result += ImportResult(behind, forked=await contradicted(engine, its_events))
    return result


def _event(record: ConsumerRecord) -> _Event | None:
    """The event in the record, or None if this service has not published it."""
    try:
        return _Event.model_validate(parse_leniently(record.headers, record.value))
    except ValueError:
        return None
