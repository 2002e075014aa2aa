"""Bounded reads of a topic at any position: a few consumers without a group, which are reused."""

import asyncio
import heapq
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from app.adapters.kafka import clients, lifecycle
from app.adapters.kafka.clients import KafkaConfig
from app.adapters.kafka.tolerant_records import tolerate_any_header_name
from app.adapters.kafka.topic_metadata import TopicIdentity, identify
from app.service_layer.feed import FeedUnavailableError

log = logging.getLogger(__name__)

MAX_READERS = 4
READ_TIMEOUT = 5.0
"""Seconds for a read, the wait for a consumer included."""

PAGE_RECORDS = 1000
PAGE_TIMEOUT = 1.0
"""Seconds to wait for the records of all partitions. Then a page has those that have arrived."""

AWAY = "the broker does not respond; try again"


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic, the first offset of each partition that is kept, and the offset behind the last record."""

    identity: TopicIdentity
    begins: tuple[int, ...]
    ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LogPage:
    """Records, those of a partition in their order, and the positions behind them."""

    records: Sequence[ConsumerRecord]
    positions: tuple[int, ...]


class TopicLog:
    """Reads a topic. Raises FeedUnavailableError if the broker does not respond, or too many reads are waiting."""

    def __init__(self, config: KafkaConfig, topic: str) -> None:
        self._config = config
        self._topic = topic
        self._slots = asyncio.Semaphore(MAX_READERS)
        self._idle: list[AIOKafkaConsumer] = []

    async def state(self) -> TopicState:
        """See `state_of`."""
        async with self._borrowed() as consumer:
            return await state_of(consumer, self._topic)

    async def page(self, topic_id: bytes, positions: Sequence[int], ends: Sequence[int]) -> LogPage | None:
        """At most `PAGE_RECORDS` records from the positions on, oldest first, before the ends.

        Returns None if a position is no longer kept, or the topic was created again.
        """
        try:
            async with self._borrowed() as consumer:
                if (await identify(consumer, self._topic)).id != topic_id:
                    return None
                return await self._page(consumer, positions, ends)
        except OffsetOutOfRangeError:
            return None

    async def close(self) -> None:
        """Stop the idle consumers."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*map(lifecycle.stop, idle))

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[AIOKafkaConsumer]:
        try:
            async with asyncio.timeout(READ_TIMEOUT), self._slots:
                consumer = self._idle.pop() if self._idle else await clients.start_unassigned(self._config)
                try:
                    yield consumer
                except BaseException:
                    await asyncio.shield(lifecycle.stop(consumer))
                    raise
                self._idle.append(consumer)
        except OffsetOutOfRangeError:
            raise
        except UnicodeDecodeError:
            # A record with a header whose name is not UTF-8. The next attempt can read it.
            tolerate_any_header_name()
            raise FeedUnavailableError(AWAY) from None
        except (KafkaError, OSError, TimeoutError) as error:
            log.info("the events topic could not be read: %r", error)
            raise FeedUnavailableError(AWAY) from error

    async def _page(self, consumer: AIOKafkaConsumer, positions: Sequence[int], ends: Sequence[int]) -> LogPage:
        wanted = {
            TopicPartition(self._topic, number): (position, end)
            for number, (position, end) in enumerate(zip(positions, ends, strict=True))
            if position < end
        }
        consumer.assign(list(wanted))
        for tp, (position, _) in wanted.items():
            consumer.seek(tp, position)
        found: dict[TopicPartition, list[ConsumerRecord]] = {tp: [] for tp in wanted}
        complete: set[TopicPartition] = set()
        deadline = asyncio.get_running_loop().time() + PAGE_TIMEOUT
        while len(complete) < len(wanted) and asyncio.get_running_loop().time() < deadline:
            fetched = await consumer.getmany(timeout_ms=100, max_records=PAGE_RECORDS)
            for tp, records in fetched.items():
                found[tp] += [record for record in records if record.offset < wanted[tp][1]]
            for tp in wanted:
                reached = await consumer.position(tp)
                if len(found[tp]) >= PAGE_RECORDS or reached >= wanted[tp][1]:
                    complete.add(tp)
                    consumer.pause(tp)
        consumer.pause(*wanted)
        merged = list(heapq.merge(*found.values(), key=lambda record: record.timestamp))[:PAGE_RECORDS]
        reached = list(positions)
        for record in merged:
            reached[record.partition] = record.offset + 1
        taken = {id(record) for record in merged}
        for tp, (_, end) in wanted.items():
            # Everything before the end was taken, and offsets without a record are not read again.
            if tp in complete and all(id(record) in taken for record in found[tp]):
                reached[tp.partition] = max(reached[tp.partition], min(end, await consumer.position(tp)))
        return LogPage(merged, tuple(reached))


async def state_of(consumer: AIOKafkaConsumer, topic: str) -> TopicState:
    """The topic as it is now. Raises KafkaError."""
    identity = await identify(consumer, topic)
    partitions = [TopicPartition(topic, number) for number in range(identity.partitions)]
    begins: Mapping[TopicPartition, int] = await consumer.beginning_offsets(partitions)
    ends: Mapping[TopicPartition, int] = await consumer.end_offsets(partitions)
    return TopicState(identity, tuple(begins[tp] for tp in partitions), tuple(ends[tp] for tp in partitions))
