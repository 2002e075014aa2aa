"""Publishes rows of the outbox to Kafka, and deletes those that were acknowledged."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError, MessageSizeTooLargeError, RecordListTooLargeError
from aiokafka.partitioner import DefaultPartitioner

from app.adapters.kafka import lifecycle
from app.adapters.postgresql.outbox_reader import OutboxReader
from app.adapters.postgresql.outbox_rows import OutboxRow
from app.cancellation import cancel
from app.integration.cloudevents import CloudEvent
from app.observability import metrics, tracing
from app.observability.tracing import Span

log = logging.getLogger(__name__)

SEND_TIMEOUT = 15.0
STRAGGLER_TIMEOUT = 2.0
"""Seconds that a partition may take longer than the first one of its round: the others do not wait for it."""

REFUSALS_OF_CONTENT = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidTimestampError)
"""Errors of a batch that the broker will refuse each time, while it accepts others for the same partition."""

_partitioner = DefaultPartitioner()


def by_partition(rows: Iterable[OutboxRow], partitions: Sequence[int]) -> dict[int, list[OutboxRow]]:
    """The rows by partition, which is that of the subject by Kafka's default partitioner."""
    queues: dict[int, list[OutboxRow]] = defaultdict(list)
    number = len(partitions)
    for row in rows:
        queues[partitions[_place_of(row.subject, number)]].append(row)
    return queues


@lru_cache(maxsize=65_536)
def _place_of(subject: str, partitions: int) -> int:
    """The index of the subject's partition. It is cached, because aiokafka computes the hash in Python."""
    numbers = range(partitions)
    place: int = _partitioner(subject.encode(), numbers, numbers)
    return place


@dataclass(slots=True)
class PublishResult:
    """The ids of the acknowledged rows, and the errors of the partitions that refused theirs.

    `unfit` has the rows of each batch that was refused for its content: one of them, or all together, are too large.
    """

    ids: list[int] = field(default_factory=list)
    refused: dict[int, Exception] = field(default_factory=dict)
    unfit: dict[int, Sequence[OutboxRow]] = field(default_factory=dict)


class EventPublisher:
    """Sends rows of the outbox as CloudEvents in binary mode, with their subject as key."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, source: str) -> None:
        self._producer = producer
        self._topic = topic
        self._source = source

    async def partitions(self) -> list[int]:
        """The numbers of the topic's partitions."""
        return sorted(await self._producer.partitions_for(self._topic))

    async def publish(
        self, queues: Mapping[int, Sequence[OutboxRow]], sizes: Mapping[int, int] | None = None
    ) -> PublishResult:
        """Send the rows of each partition in their order. A partition that refuses does not affect the others.

        `sizes` are the numbers of rows in the first batch of a partition, at most. Each next batch may have twice as
        many.
        """
        published = PublishResult()
        known = sizes or {}
        sends = {
            asyncio.create_task(
                self._publish_to(partition, queue, known.get(partition, len(queue)), published)
            ): partition
            for partition, queue in queues.items()
        }
        try:
            await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
            _, late = await asyncio.wait(sends, timeout=STRAGGLER_TIMEOUT)
        finally:
            await cancel(sends)
        for send in late:
            error = TimeoutError("no acknowledgement, while other partitions have acknowledged")
            published.refused.setdefault(sends[send], error)
        return published

    async def _publish_to(self, partition: int, rows: Sequence[OutboxRow], size: int, published: PublishResult) -> None:
        sent = end = 0
        spans = self._start_spans(rows, partition) if tracing.is_on() else {}
        try:
            while sent < len(rows):
                batch = self._producer.create_batch()
                end, most = sent, min(sent + size, len(rows))
                while end < most and self._append(batch, rows[end], spans.get(rows[end].id)):
                    end += 1
                if end == sent:
                    end += 1
                    text = f"event {rows[sent].id} does not fit into an empty batch"
                    raise MessageSizeTooLargeError(text)  # noqa: TRY301 - refused as if by the broker
                async with asyncio.timeout(SEND_TIMEOUT):
                    await (await self._producer.send_batch(batch, self._topic, partition=partition))
                metrics.relay_lag_seconds.observe(age_in_seconds(rows[sent].created_at))
                published.ids += [row.id for row in rows[sent:end]]
                sent, size = end, 2 * size
        except Exception as error:  # noqa: BLE001 - returned to the relay, which continues with the other partitions
            published.refused[partition] = error
            if isinstance(error, REFUSALS_OF_CONTENT):
                published.unfit[partition] = rows[sent:end]
        finally:
            for number, row in enumerate(rows if spans else ()):
                if row.id in spans:
                    spans[row.id].end(None if number < sent else "not-acknowledged")

    def _start_spans(self, rows: Sequence[OutboxRow], partition: int) -> dict[int, Span]:
        """A span for each event whose trace is recorded. An event that is sent again has a new span."""
        name, common = f"send {self._topic}", tracing.messaging("send", self._topic)
        common["messaging.destination.partition.id"] = str(partition)
        started = {
            row.id: tracing.follow(
                "producer",
                name,
                row.traceparent,
                {
                    **common,
                    "messaging.message.id": str(row.message_id),
                    "messaging.message.conversation_id": row.correlation_id,
                },
            )
            for row in rows
        }
        return {row_id: span for row_id, span in started.items() if span is not None}

    def _append(self, batch: object, row: OutboxRow, span: Span | None) -> bool:
        headers, value = self._to_event(row, row.traceparent if span is None else span.traceparent).to_record()
        return (
            batch.append(  # type: ignore[attr-defined]
                key=row.subject.encode(),
                value=value,
                timestamp=int(row.created_at.timestamp() * 1000),
                headers=headers,
            )
            is not None
        )

    def _to_event(self, row: OutboxRow, traceparent: str | None) -> CloudEvent:
        return CloudEvent(
            id=str(row.message_id),
            type=row.type,
            data=row.data.encode(),
            source=self._source,
            time=row.created_at.isoformat().replace("+00:00", "Z"),
            subject=row.subject,
            sequence=None if row.sequence is None else str(row.sequence),
            correlation_id=row.correlation_id,
            causation_id=row.causation_id,
            traceparent=traceparent,
        )


class SharedProducer:
    """The producer of the senders of several cells, and a new one after a failure."""

    def __init__(self, start: Callable[[], Awaitable[AIOKafkaProducer]]) -> None:
        self._start = start
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._stopping: set[asyncio.Task[None]] = set()

    async def get(self) -> AIOKafkaProducer:
        """The producer. Starts one if there is none. Raises KafkaError."""
        async with self._starting:
            if self._producer is None:
                self._producer = await self._start()
            return self._producer

    def drop(self, failed: AIOKafkaProducer | None) -> None:
        """Discard the producer that has failed, unless it was discarded before: the next use starts a new one.

        The old producer stops in the background, which takes seconds if its broker does not answer. A batch that it
        still sends can only repeat events of the new producer, because it contains the same events in their order.
        """
        if failed is not None and failed is self._producer:
            self._producer = None
            stopping = asyncio.create_task(lifecycle.stop(failed))
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

    async def close(self) -> None:
        """Stop all producers, within `lifecycle.STOP_TIMEOUT`."""
        self.drop(self._producer)
        await asyncio.gather(*self._stopping, return_exceptions=True)


class Sender:
    """Publishes rows of one outbox."""

    def __init__(self, outbox: OutboxReader, producer: SharedProducer, *, topic: str, source: str) -> None:
        self._outbox = outbox
        self._shared = producer
        self._topic = topic
        self._source = source
        self._used: AIOKafkaProducer | None = None

    async def partitions(self) -> list[int]:
        """See `EventPublisher.partitions`. Raises KafkaError."""
        return await (await self._publisher()).partitions()

    async def send(
        self, queues: Mapping[int, Sequence[OutboxRow]], sizes: Mapping[int, int] | None = None
    ) -> PublishResult:
        """Send the rows as `EventPublisher.publish` does, and delete the acknowledged ones from the outbox.

        Raises errors of the database, and errors of the broker if no producer can be started. A refusal by a partition
        is logged and returned.
        """
        if not queues:
            return PublishResult()
        published = await (await self._publisher()).publish(queues, sizes)
        if published.ids:
            await self._outbox.delete(published.ids)
            metrics.outbox_published.inc(len(published.ids))
        if published.refused:
            metrics.outbox_failures.inc()
            for partition, error in published.refused.items():
                log.warning("publishing to partition %d failed and will be retried: %r", partition, error)
            self.drop()
        return published

    def drop(self) -> None:
        """Discard the producer that was used last. See `SharedProducer.drop`."""
        self._shared.drop(self._used)

    async def _publisher(self) -> EventPublisher:
        self._used = await self._shared.get()
        return EventPublisher(self._used, self._topic, self._source)


def age_in_seconds(written: datetime) -> float:
    """Seconds since a row was written; 0 if the clock of the database is ahead."""
    return max(0.0, time.time() - written.timestamp())
