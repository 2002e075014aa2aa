"""The relay: publishes what is committed to the outbox, in order for each SKU, and forgets it once acknowledged.

Nothing is locked while it sends. For each partition one batch is on its way at a time, and the next goes only after the
broker has acknowledged it; so whatever fails, and however often it is sent again, a reader sees the first occurrences
of the events of a SKU in their order.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from app.adapters import kafka
from app.adapters.outbox import OutboxListener, OutboxReader, OutboxRow, OutboxSignal
from app.integration.cloudevents import SPECVERSION
from app.observability import metrics, tracing
from app.observability.tracing import Span

log = logging.getLogger(__name__)

POLL_INTERVAL = 0.5
"""Seconds between looks at the outbox where no signal comes."""

READ_LIMIT = 2000
SEND_TIMEOUT = 15.0
FIRST_REFUSAL = 0.2
LONGEST_REFUSAL = 60.0
"""Seconds for which a partition that has refused is passed over: at first, and when it goes on refusing."""
LONGEST_BACKOFF = 2.0


@dataclass(slots=True)
class Published:
    """What became of some rows: the ids of those that were acknowledged, and the partitions that refused."""

    ids: list[int] = field(default_factory=list)
    refused: dict[int, Exception] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Until when (on the monotonic clock) a partition is passed over, and for how long that is."""

    until: float
    seconds: float

    @classmethod
    def after(cls, earlier: Self | None) -> Self:
        """The refusal that follows an earlier one."""
        seconds = FIRST_REFUSAL if earlier is None else min(LONGEST_REFUSAL, 2 * earlier.seconds)
        return cls(time.monotonic() + seconds, seconds)


class EventPublisher:
    """Sends rows of the outbox as CloudEvents in binary mode, keyed by SKU."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, source: str) -> None:
        self._producer = producer
        self._topic = topic
        self._source = source.encode()
        self._choose = DefaultPartitioner()

    async def by_partition(self, rows: Sequence[OutboxRow]) -> dict[int, list[OutboxRow]]:
        """The rows by the partition that their SKU belongs to, as every Kafka client would choose it."""
        partitions = sorted(await self._producer.partitions_for(self._topic))
        queues: dict[int, list[OutboxRow]] = defaultdict(list)
        for row in rows:
            queues[self._choose(row.subject.encode(), partitions, partitions)].append(row)
        return queues

    async def publish(self, queues: Mapping[int, Sequence[OutboxRow]]) -> Published:
        """Send the rows of each partition in their order; a partition that refuses keeps no other from its own."""
        published = Published()
        await asyncio.gather(
            *(self._publish_to(partition, queue, published) for partition, queue in queues.items()),
        )
        return published

    async def _publish_to(self, partition: int, rows: Sequence[OutboxRow], published: Published) -> None:
        sent = 0
        spans = self._start_spans(rows, partition) if tracing.is_on() else {}
        try:
            while sent < len(rows):
                batch = self._producer.create_batch()
                end = sent
                while end < len(rows) and self._append(batch, rows[end], spans.get(rows[end].id)):
                    end += 1
                if end == sent:
                    published.refused[partition] = ValueError(f"event {rows[sent].id} does not fit into an empty batch")
                    return
                async with asyncio.timeout(SEND_TIMEOUT):
                    await (await self._producer.send_batch(batch, self._topic, partition=partition))
                metrics.relay_lag_seconds.observe(_age(rows[sent]))
                published.ids += [row.id for row in rows[sent:end]]
                sent = end
        except Exception as error:  # noqa: BLE001 - told to the relay, which goes on with the other partitions
            published.refused[partition] = error
        finally:
            for number, row in enumerate(rows if spans else ()):
                if row.id in spans:
                    spans[row.id].end(None if number < sent else "not-acknowledged")

    def _start_spans(self, rows: Sequence[OutboxRow], partition: int) -> dict[int, Span]:
        """A span for each event that follows from something recorded. Sent again, it has another one."""
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
        return (
            batch.append(  # type: ignore[attr-defined]
                key=row.subject.encode(),
                value=row.data.encode(),
                timestamp=int(row.created_at.timestamp() * 1000),
                headers=self._headers(row, row.traceparent if span is None else span.traceparent),
            )
            is not None
        )

    def _headers(self, row: OutboxRow, traceparent: str | None) -> list[tuple[str, bytes]]:
        headers = [
            ("ce_specversion", SPECVERSION.encode()),
            ("ce_id", str(row.message_id).encode()),
            ("ce_type", row.type.encode()),
            ("ce_source", self._source),
            ("ce_time", row.created_at.isoformat().replace("+00:00", "Z").encode()),
            ("ce_subject", row.subject.encode()),
            ("ce_correlationid", row.correlation_id.encode()),
            ("ce_causationid", row.causation_id.encode()),
            ("content-type", b"application/json"),
        ]
        if row.sequence is not None:
            headers.append(("ce_sequence", str(row.sequence).encode()))
        if traceparent is not None:
            # The second is for readers by an SDK, which hand on the attributes of an event and no other header.
            headers += [(name, traceparent.encode()) for name in ("traceparent", "ce_traceparent")]
        return headers


def _age(row: OutboxRow) -> float:
    """Seconds since the row was written, as far as our clock and the database's agree."""
    return max(0.0, time.time() - row.created_at.timestamp())


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
        self._refusals: dict[int, _Refusal] = {}

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
        queues = await self._next_queues()
        if not queues:
            return 0
        publisher = await self._ensure_publisher()
        published = await publisher.publish(queues)
        if published.ids:
            await self._outbox.delete(published.ids)
            metrics.outbox_published.inc(len(published.ids))
        for partition in queues:
            if partition in published.refused:
                self._refusals[partition] = _Refusal.after(self._refusals.get(partition))
            else:
                self._refusals.pop(partition, None)
        if published.refused:
            raise next(iter(published.refused.values()))
        return len(published.ids)

    async def _next_queues(self) -> dict[int, list[OutboxRow]]:
        """The oldest rows of our shards, but for those of partitions that have refused a moment ago.

        A partition takes all events of its SKUs, so passing it over keeps their order.
        """
        after = 0
        now = time.monotonic()
        passed_over = [partition for partition, refusal in self._refusals.items() if refusal.until > now]
        while self._shards:
            rows = await self._outbox.read(self._shards, READ_LIMIT, after=after)
            if not after:
                metrics.outbox_oldest_age.set(_age(rows[0]) if rows else 0.0)
            if not rows:
                break
            publisher = await self._ensure_publisher()
            queues = await publisher.by_partition(rows)
            for partition in passed_over:
                queues.pop(partition, None)
            if queues:
                return queues
            after = rows[-1].id
        return {}

    async def _claim(self) -> None:
        self._claimed_at = time.monotonic()
        self._shards = await self._outbox.claim()
        if not self._shards:
            metrics.outbox_oldest_age.set(0.0)
        try:
            metrics.outbox_pending.set(await self._outbox.pending())
        except Exception as error:  # noqa: BLE001 - a figure for people must not stand in the way of publishing
            log.info("what is pending could not be counted: %r", error)
        try:
            await self._listener.ensure()
        except Exception as error:  # noqa: BLE001 - without signals it polls
            log.info("no signals of other processes come through: %r", error)

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
