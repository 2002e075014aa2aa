"""A subscription to Kafka topics that survives faults of the broker, the consumer group and the handler.

Records are handled in small batches, and offsets are committed afterwards. A batch may come again after a crash or a
rebalance, so the handler has to be idempotent. A partition with deferred records is paused; the others continue.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import OffsetAndMetadata

from app.adapters.kafka import lifecycle
from app.adapters.kafka.tolerant_records import tolerate_any_header_name
from app.backoff import next_delay
from app.cancellation import cancel, raise_if_cancelled
from app.observability import metrics

log = logging.getLogger(__name__)

POLL_TIMEOUT_MS = 500
FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 2.0
POLL_DEADLINE = 60.0
"""Seconds for one poll; aiokafka itself waits for a rebalance without a limit."""
REQUEST_TIMEOUT = 30.0
"""Seconds for a commit or another request to the broker."""
LAG_INTERVAL = 10.0
"""Seconds between measurements of the lag."""
TOPIC_INTERVAL = 10.0
"""Seconds between checks whether a topic was deleted and created again, which needs no rebalance to happen."""
STALL_TIMEOUT = 30.0
"""Seconds without a record after which the lag is checked. A consumer that lags is replaced."""

POLL_TIMEOUT_WHILE_PAUSED_MS = 50
"""Milliseconds for a poll while a partition is paused, so that it resumes soon after its records are handled."""

Finish = Callable[[], Awaitable[object]]
"""Handles the deferred records of a partition."""


@dataclass(frozen=True, slots=True)
class _PausedPartition:
    """The task that handles the deferred records, the number of fetched records, and the position after them."""

    task: asyncio.Task[object]
    records: int
    position: OffsetAndMetadata


class StalledError(Exception):
    """The topic has records for this consumer, and it fetches none."""


class Subscription:
    """Reads topics in a consumer group until it is cancelled. `start_consumer` starts a `GroupConsumer`.

    `handle` receives the records of one poll in the order of their offsets and returns when they are handled. It may
    defer records: it returns the partitions with deferred records, each with the call that handles them. If either
    raises, the subscription restarts from the committed offsets.
    """

    def __init__(
        self,
        start_consumer: Callable[[], Awaitable[AIOKafkaConsumer]],
        handle: Callable[[Sequence[ConsumerRecord]], Awaitable[Mapping[TopicPartition, Finish] | None]],
        *,
        name: str,
        max_records: int,
    ) -> None:
        self._start_consumer = start_consumer
        self._handle = handle
        self._name = name
        self._max_records = max_records
        self._being_handled = 0
        self._paused: dict[TopicPartition, _PausedPartition] = {}

    async def run(self) -> None:
        """Read until cancelled."""
        # Set at once, so that a subscription whose broker never answers has its series.
        metrics.consumer_lag.labels(self._name).set(metrics.UNKNOWN)
        self._count([0])
        backoff = 0.0
        while True:
            started = time.monotonic()
            try:
                await self._consume()
            except Exception as error:  # noqa: BLE001 - the subscription survives every fault of broker and handler
                raise_if_cancelled()
                log.warning("%s: reading failed and will be retried: %r", self._name, error)
            if time.monotonic() - started > 10 * LONGEST_BACKOFF:
                backoff = 0.0
            backoff = next_delay(backoff, first=FIRST_BACKOFF, longest=LONGEST_BACKOFF)
            await asyncio.sleep(backoff)

    async def _consume(self) -> None:
        consumer = await self._start_consumer()
        measuring = asyncio.create_task(self._measure_lag(consumer), name=f"{self._name}-lag")
        try:
            last_progress = last_check = time.monotonic()
            while True:
                if time.monotonic() - last_check > TOPIC_INTERVAL:
                    await consumer.check_topics()
                    last_check = time.monotonic()
                fetched = await self._poll(consumer)
                if await self._resume(consumer, fetched):
                    last_progress = time.monotonic()
                if fetched:
                    await self._handle_batch(consumer, fetched)
                    last_progress = time.monotonic()
                elif time.monotonic() - last_progress > STALL_TIMEOUT:
                    async with asyncio.timeout(REQUEST_TIMEOUT):
                        await self._check_lag(consumer)
                    last_progress = time.monotonic()
        finally:
            self._being_handled = 0
            await cancel([measuring, *(paused.task for paused in self._paused.values())])
            self._paused.clear()
            await asyncio.shield(lifecycle.stop(consumer))

    async def _handle_batch(
        self, consumer: AIOKafkaConsumer, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]
    ) -> None:
        """Handle the records and commit their offsets. Pause partitions with deferred records."""
        # The topic may be created again, and reassigned, while its records are handled.
        ids = dict(consumer.topic_ids)
        positions = {
            tp: OffsetAndMetadata(records[-1].offset + 1, ids.get(tp.topic, "")) for tp, records in fetched.items()
        }
        batch = [record for records in fetched.values() for record in records]
        self._being_handled = len(batch)
        deferred = await self._handle(batch) or {}
        self._being_handled = 0
        for tp, finish in deferred.items():
            task = asyncio.ensure_future(finish())
            self._paused[tp] = _PausedPartition(task, len(fetched[tp]), positions[tp])
            if tp in consumer.assignment():
                consumer.pause(tp)
        handled = {tp: position for tp, position in positions.items() if tp not in deferred}
        await self._commit(consumer, handled)
        self._count(len(fetched[tp]) for tp in handled)

    async def _resume(self, consumer: AIOKafkaConsumer, fetched: Collection[TopicPartition]) -> bool:
        """Commit and resume the paused partitions whose records are handled. Returns whether there was one.

        After a rebalance, a partition belongs to another member or is fetched from its committed offset. Its deferred
        records are then abandoned, because they come again.
        """
        resumed = False
        for tp, paused in list(self._paused.items()):
            if tp in fetched or tp not in consumer.assignment():
                await self._abandon(tp)
            elif paused.task.done():
                del self._paused[tp]
                paused.task.result()
                await self._commit(consumer, {tp: paused.position})
                self._count([paused.records])
                if tp in consumer.assignment():
                    consumer.resume(tp)
                resumed = True
        return resumed

    async def _abandon(self, tp: TopicPartition) -> None:
        await cancel([self._paused.pop(tp).task])

    def _count(self, records: Iterable[int]) -> None:
        metrics.subscription_records.labels(self._name).inc(sum(records))

    async def _poll(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, list[ConsumerRecord]]:
        try:
            async with asyncio.timeout(POLL_DEADLINE):
                timeout_ms = POLL_TIMEOUT_WHILE_PAUSED_MS if self._paused else POLL_TIMEOUT_MS
                return await consumer.getmany(timeout_ms=timeout_ms, max_records=self._max_records)  # type: ignore[no-any-return]
        except UnicodeDecodeError:
            log.warning("%s: a record has a header whose name is not UTF-8", self._name)
            tolerate_any_header_name()
            raise

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit the offsets of assigned partitions. Others were reassigned, and their new member reads them again."""
        ours = {tp: offset for tp, offset in offsets.items() if tp in consumer.assignment()}
        if not ours:
            return
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                await consumer.commit(ours)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("%s: offsets were not committed after a rebalance: %r", self._name, error)

    async def _check_lag(self, consumer: AIOKafkaConsumer) -> None:
        for tp, (position, end) in (await _progress(consumer)).items():
            if position < end and tp not in self._paused:
                message = f"{tp.topic}[{tp.partition}] is at {position} of {end}"
                raise StalledError(message)

    async def _measure_lag(self, consumer: AIOKafkaConsumer) -> None:
        """Measure the lag in a task of its own, so that it is also measured while the handler waits."""
        gauge = metrics.consumer_lag.labels(self._name)
        try:
            while True:
                try:
                    async with asyncio.timeout(REQUEST_TIMEOUT):
                        progress = await _progress(consumer)
                    unfinished = self._being_handled + sum(paused.records for paused in self._paused.values())
                    gauge.set(unfinished + sum(end - position for position, end in progress.values()))
                except Exception as error:  # noqa: BLE001 - only a metric; the poll reports the fault
                    raise_if_cancelled()
                    log.debug("%s: the lag is unknown: %r", self._name, error)
                    gauge.set(metrics.UNKNOWN)
                await asyncio.sleep(LAG_INTERVAL)
        finally:
            gauge.set(metrics.UNKNOWN)


async def _progress(consumer: AIOKafkaConsumer) -> dict[TopicPartition, tuple[int, int]]:
    """For each assigned partition, the offset to be fetched next and the end offset."""
    ends = await consumer.end_offsets(list(consumer.assignment()))
    return {tp: (await consumer.position(tp), max(end, consumer.highwater(tp) or 0)) for tp, end in ends.items()}
