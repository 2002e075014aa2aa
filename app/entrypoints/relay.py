"""The relay: publishes what is committed to the outbox, in order for each SKU, and forgets it once acknowledged.

Nothing is locked while it sends. For each partition one batch is on its way at a time, and the next goes only after the
broker has acknowledged it; so whatever fails, and however often it is sent again, a reader sees the first occurrences
of the events of a SKU in their order.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from app.adapters import kafka
from app.adapters.outbox import OutboxListener, OutboxReader, OutboxRow, OutboxSignal
from app.integration.cloudevents import SPECVERSION
from app.observability import metrics

log = logging.getLogger(__name__)

POLL_INTERVAL = 0.5
"""Seconds between looks at the outbox where no signal comes."""

READ_LIMIT = 2000
SEND_TIMEOUT = 20.0
LONGEST_BACKOFF = 2.0


class EventPublisher:
    """Sends rows of the outbox as CloudEvents in binary mode, keyed by SKU."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, source: str) -> None:
        self._producer = producer
        self._topic = topic
        self._source = source.encode()
        self._partition_of = DefaultPartitioner()

    async def publish(self, rows: Sequence[OutboxRow]) -> tuple[list[int], Exception | None]:
        """Send the rows. Returns the ids of those that were acknowledged, and an error where some were not."""
        partitions = sorted(await self._producer.partitions_for(self._topic))
        by_partition: dict[int, list[OutboxRow]] = defaultdict(list)
        for row in rows:
            by_partition[self._partition_of(row.sku.encode(), partitions, partitions)].append(row)
        acknowledged: list[int] = []
        results = await asyncio.gather(
            *(self._publish_to(partition, queue, acknowledged) for partition, queue in by_partition.items()),
            return_exceptions=True,
        )
        errors = [result for result in results if isinstance(result, BaseException)]
        for error in errors:
            if not isinstance(error, Exception):
                raise error
        return acknowledged, next((error for error in errors if isinstance(error, Exception)), None)

    async def _publish_to(self, partition: int, rows: list[OutboxRow], acknowledged: list[int]) -> None:
        sent = 0
        while sent < len(rows):
            batch = self._producer.create_batch()
            end = sent
            while end < len(rows) and self._append(batch, rows[end]):
                end += 1
            if end == sent:
                message = f"event {rows[sent].id} does not fit into an empty batch"
                raise ValueError(message)
            async with asyncio.timeout(SEND_TIMEOUT):
                await (await self._producer.send_batch(batch, self._topic, partition=partition))
            acknowledged += [row.id for row in rows[sent:end]]
            sent = end

    def _append(self, batch: object, row: OutboxRow) -> bool:
        return (
            batch.append(  # type: ignore[attr-defined]
                key=row.sku.encode(),
                value=row.data.encode(),
                timestamp=int(row.created_at.timestamp() * 1000),
                headers=self._headers(row),
            )
            is not None
        )

    def _headers(self, row: OutboxRow) -> list[tuple[str, bytes]]:
        headers = [
            ("ce_specversion", SPECVERSION.encode()),
            ("ce_id", str(row.message_id).encode()),
            ("ce_type", row.type.encode()),
            ("ce_source", self._source),
            ("ce_time", row.created_at.isoformat().replace("+00:00", "Z").encode()),
            ("ce_subject", row.sku.encode()),
            ("ce_correlationid", row.correlation_id.encode()),
            ("ce_causationid", row.causation_id.encode()),
            ("content-type", b"application/json"),
        ]
        if row.sequence is not None:
            headers.append(("ce_sequence", str(row.sequence).encode()))
        if row.traceparent is not None:
            headers.append(("traceparent", row.traceparent.encode()))
        return headers


class Relay:
    """Runs until it is cancelled, whatever happens to the database or the broker meanwhile."""

    def __init__(
        self,
        outbox: OutboxReader,
        signal: OutboxSignal,
        listener: OutboxListener,
        start_producer: Callable[[], Awaitable[AIOKafkaProducer]],
        *,
        topic: str,
        source: str,
        lease: float,
    ) -> None:
        self._outbox = outbox
        self._signal = signal
        self._listener = listener
        self._start_producer = start_producer
        self._topic = topic
        self._source = source
        self._claim_interval = lease / 3
        self._producer: AIOKafkaProducer | None = None
        self._publisher: EventPublisher | None = None
        self._shards: list[int] = []
        self._claimed_at = float("-inf")

    async def run(self) -> None:
        """Publish, for ever."""
        backoff = 0.0
        async with self._listener:
            try:
                while True:
                    try:
                        published = await self._round()
                        backoff = 0.0
                        if not published:
                            await self._signal.wait(min(POLL_INTERVAL, self._claim_interval))
                    except Exception as error:  # noqa: BLE001 - the relay outlives every fault of its neighbours
                        metrics.outbox_failures.inc()
                        log.warning("publishing failed and will be tried again: %r", error)
                        await self._drop_producer()
                        backoff = min(LONGEST_BACKOFF, 2 * backoff or 0.1)
                        await asyncio.sleep(backoff)
            finally:
                await asyncio.shield(self._stop())

    async def _round(self) -> int:
        """Publish what waits in our shards, up to a limit; returns how many events the broker acknowledged."""
        if time.monotonic() - self._claimed_at >= self._claim_interval:
            await self._claim()
        if not self._shards:
            return 0
        rows = await self._outbox.read(self._shards, READ_LIMIT)
        if not rows:
            return 0
        publisher = await self._ensure_publisher()
        acknowledged, error = await publisher.publish(rows)
        if acknowledged:
            await self._outbox.delete(acknowledged)
            metrics.outbox_published.inc(len(acknowledged))
        if error is not None:
            raise error
        return len(acknowledged)

    async def _claim(self) -> None:
        self._claimed_at = time.monotonic()
        self._shards = await self._outbox.claim()
        metrics.outbox_pending.set(await self._outbox.pending())
        await self._listener.ensure()

    async def _ensure_publisher(self) -> EventPublisher:
        if self._publisher is None:
            self._producer = await self._start_producer()
            self._publisher = EventPublisher(self._producer, self._topic, self._source)
        return self._publisher

    async def _drop_producer(self) -> None:
        """A producer that has failed may hold batches that it would still send; a new one starts from the outbox."""
        producer, self._producer, self._publisher = self._producer, None, None
        if producer is not None:
            await kafka.stop(producer)

    async def _stop(self) -> None:
        await self._drop_producer()
        try:
            async with asyncio.timeout(kafka.STOP_TIMEOUT):
                await self._outbox.leave()
        except Exception as error:  # noqa: BLE001 - the leases end by themselves
            log.warning("the shards could not be given back: %r", error)
