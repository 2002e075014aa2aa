"""The feed over Kafka: a tail of the events topic in memory, and reads of older positions from the broker.

No offset is committed and no group is joined, so any number of processes can follow the topic.
"""

import asyncio
import heapq
import logging
import math
import time
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from app.adapters.kafka import clients, lifecycle
from app.adapters.kafka.clients import KafkaConfig
from app.adapters.kafka.feed_cursor import decode, encode, padded
from app.adapters.kafka.feed_reader import GONE, NEW_TOPIC, KafkaFeedReader
from app.adapters.kafka.feed_ring import Positions, Ring
from app.adapters.kafka.tolerant_records import tolerate_any_header_name
from app.adapters.kafka.topic_log import AWAY, LogPage, TopicLog, TopicState, state_of
from app.backoff import next_delay
from app.cancellation import raise_if_cancelled
from app.observability import metrics
from app.service_layer.feed import (
    EARLIEST,
    FeedCursorExpiredError,
    FeedFilter,
    FeedUnavailableError,
)

log = logging.getLogger(__name__)

CHECK_INTERVAL = 2.0
"""Seconds between two checks of the topic: is the broker there, was the topic created again, has it more partitions."""

START_SECONDS = 2.0
"""Seconds for which readers wait until the topic is followed: browsers do not connect again after a 503."""

CHECK_TIMEOUT = 5.0
RETRY_DELAY = 0.5
LONGEST_DELAY = 4.0
CATCH_UP_SECONDS = 10.0
WAKE_INTERVAL = 0.5
"""Seconds between two wake-ups of all readers, each of which costs as much as some requests. The first event after a
pause wakes them at once."""

UNUSED_SECONDS = 300.0
"""Seconds after the last read in which the topic is still followed. Most processes have no readers, and following the
topic takes a twentieth of the processor time of a line."""

KEPT_AT_START = 500
"""Records of each partition that are read when following begins, so that most readers continue in memory."""

POLL = 0.5
CATCH_UP_POLL = 0.2
POLL_RECORDS = 2000
AHEAD_SECONDS = 1.0


class KafkaFeed:
    """Implements `EventFeed`. The topic is followed from the first read until `UNUSED_SECONDS` after the last one."""

    def __init__(self, config: KafkaConfig, topic: str) -> None:
        self._config = config
        self._topic = topic
        self._log = TopicLog(config, topic)
        self._ring: Ring | None = None
        self._is_available = False
        self._used_at = -math.inf
        self._wanted = asyncio.Event()
        self._attempted = asyncio.Event()
        """Set when the topic was read for the first time, or could not be read."""
        self._news = asyncio.Event()
        self._last_wake = 0.0
        self._next_wake: asyncio.TimerHandle | None = None

    @property
    def ring(self) -> Ring:
        """The newest events. Raises FeedUnavailableError before the topic was first read."""
        if self._ring is None:
            raise FeedUnavailableError(AWAY)
        return self._ring

    def keep(self) -> None:
        """Follow the topic now, and `UNUSED_SECONDS` longer."""
        self._used_at = time.monotonic()
        self._wanted.set()

    async def run(self) -> None:
        """Follow the topic while there are readers, until cancelled."""
        delay = 0.0
        try:
            while True:
                if self._is_unused():
                    self._ring = None
                    self._attempted.clear()
                    self._wanted.clear()
                    await self._wanted.wait()
                has_failed = True
                try:
                    await self._follow()
                    has_failed = False
                except UnicodeDecodeError:
                    # A record with a header whose name is not UTF-8.
                    tolerate_any_header_name()
                except Exception as error:  # noqa: BLE001 - the broker may come back
                    raise_if_cancelled()
                    if self._is_available or not delay:
                        log.warning("the events topic cannot be followed: %r", error)
                was_available, self._is_available = self._is_available, False
                metrics.feed_lag.set(metrics.UNKNOWN)
                if not has_failed:
                    # The topic has changed, or there was no reader. New readers wait until it is followed again.
                    self._attempted.clear()
                    continue
                delay = next_delay(0.0 if was_available else delay, first=RETRY_DELAY, longest=LONGEST_DELAY)
                self._attempted.set()
                await asyncio.sleep(delay)
        finally:
            self._is_available = False
            await self._log.close()

    def wake(self) -> None:
        """End each `wait` of a reader."""
        self._next_wake = None
        self._last_wake = asyncio.get_running_loop().time()
        self._news.set()
        self._news = asyncio.Event()

    async def news(self, seconds: float) -> None:
        """Return at the next `wake`, or after the time."""
        await _wait(self._news, seconds)

    async def open(self, cursor: str | None, which: FeedFilter) -> KafkaFeedReader:
        """A reader at the cursor. Raises InvalidFeedCursorError, FeedCursorExpiredError, FeedUnavailableError."""
        given = None if cursor in {None, EARLIEST} else decode(cursor or "")
        self.keep()
        await _wait(self._attempted, START_SECONDS)
        if not self._is_available:
            raise FeedUnavailableError(AWAY)
        ring = self.ring
        if given is None:
            start = tuple(ring.end) if cursor is None else (await self._state_of(ring)).begins
            return KafkaFeedReader(self, ring, padded(start, len(ring.end)), which)
        topic_id, given_positions = given
        if topic_id != ring.topic_id or len(given_positions) > len(ring.end):
            state = await self._state_of(ring)
            raise FeedCursorExpiredError(NEW_TOPIC, encode(ring.topic_id, state.begins))
        positions = padded(given_positions, len(ring.end))
        if _is_ahead(positions, ring.end):
            await self._await_ends(ring, positions)
        if not ring.holds(positions):
            state = await self._state_of(ring)
            if _is_ahead(state.begins, positions):
                raise FeedCursorExpiredError(GONE, encode(ring.topic_id, state.begins))
        return KafkaFeedReader(self, ring, positions, which)

    async def page(self, ring: Ring, positions: Positions) -> LogPage:
        """Records from the broker, up to the beginning of the ring. Raises FeedCursorExpiredError."""
        page = await self._log.page(ring.topic_id, positions, ring.start)
        if page is None:
            state = await self._state_of(ring)
            raise FeedCursorExpiredError(GONE, encode(ring.topic_id, state.begins))
        return page

    async def _state_of(self, ring: Ring) -> TopicState:
        """The topic on the broker. Raises FeedUnavailableError if this process does not follow that topic yet."""
        state = await self._log.state()
        if state.identity.id != ring.topic_id or state.identity.partitions < len(ring.end):
            raise FeedUnavailableError("the topic was created again, and is being read; try again")
        if state.identity.partitions > len(ring.end):
            raise FeedUnavailableError("the topic has new partitions, which are being read; try again")
        return state

    async def _await_ends(self, ring: Ring, positions: Positions) -> None:
        """Check that the topic has the positions. Another process may have read further than this one.

        Repeated, because the embedded broker may report an end that is too early.
        """
        deadline = asyncio.get_running_loop().time() + AHEAD_SECONDS
        while _is_ahead(positions, ring.end):
            state = await self._state_of(ring)
            if not _is_ahead(positions, state.ends):
                return
            if asyncio.get_running_loop().time() > deadline:
                raise FeedCursorExpiredError(NEW_TOPIC, encode(ring.topic_id, state.begins))
            await self.news(WAKE_INTERVAL)

    def _is_unused(self) -> bool:
        return time.monotonic() - self._used_at > UNUSED_SECONDS

    async def _follow(self) -> None:
        consumer = await clients.start_unassigned(self._config)
        try:
            state = await self._state_at_start(consumer)
            ring = self._continued(state)
            tps = [TopicPartition(self._topic, number) for number in range(state.identity.partitions)]
            consumer.assign(tps)
            for tp in tps:
                consumer.seek(tp, ring.end[tp.partition])
            await self._catch_up(consumer, ring, state)
            self._ring, self._is_available = ring, True
            self._attempted.set()
            self.wake()
            log.info("following the events topic")
            await self._tail(consumer, ring)
        finally:
            await asyncio.shield(lifecycle.stop(consumer))

    async def _state_at_start(self, consumer: AIOKafkaConsumer) -> TopicState:
        """The topic, which is created if it is missing, as by relay and notifier. Raises KafkaError, TimeoutError."""
        async with asyncio.timeout(CHECK_TIMEOUT):
            try:
                return await state_of(consumer, self._topic)
            except UnknownTopicOrPartitionError:
                await clients.create_topics(self._config, [self._topic])
                return await state_of(consumer, self._topic)

    def _continued(self, state: TopicState) -> Ring:
        """The ring, if it can continue without a gap, else a new one that begins shortly before the end."""
        ring = self._ring
        if ring is not None and ring.topic_id == state.identity.id and len(ring.end) <= state.identity.partitions:
            ring.add_partitions(state.identity.partitions)
            if not _is_ahead(state.begins, ring.end):
                return ring
        start = [max(begin, end - KEPT_AT_START) for begin, end in zip(state.begins, state.ends, strict=True)]
        return Ring(state.identity.id, start)

    async def _catch_up(self, consumer: AIOKafkaConsumer, ring: Ring, state: TopicState) -> None:
        """Read up to the present end, so that a reader without a cursor begins there.

        Until a poll is empty as well, because the embedded broker may report an end that is too early.
        """
        deadline = asyncio.get_running_loop().time() + CATCH_UP_SECONDS
        while await self._poll(consumer, ring, CATCH_UP_POLL) or _is_ahead(state.ends, ring.end):
            if asyncio.get_running_loop().time() > deadline:
                return

    async def _tail(self, consumer: AIOKafkaConsumer, ring: Ring) -> None:
        """Append records to the ring until the topic changes or the feed is unused. Raises KafkaError, TimeoutError."""
        loop = asyncio.get_running_loop()
        next_check = loop.time()
        while True:
            await self._poll(consumer, ring, POLL)
            if self._is_unused():
                log.info("the events topic is not followed any more: no reader")
                return
            if loop.time() >= next_check:
                async with asyncio.timeout(CHECK_TIMEOUT):
                    state = await state_of(consumer, self._topic)
                if (state.identity.id, state.identity.partitions) != (ring.topic_id, len(ring.end)):
                    return
                ends = zip(state.ends, ring.end, strict=True)
                metrics.feed_lag.set(sum(max(0, end - reached) for end, reached in ends))
                next_check = loop.time() + CHECK_INTERVAL

    async def _poll(self, consumer: AIOKafkaConsumer, ring: Ring, seconds: float) -> bool:
        """Append the next records. Returns whether there were any within the time."""
        fetched = await consumer.getmany(timeout_ms=int(seconds * 1000), max_records=POLL_RECORDS)
        if fetched:
            ring.append(heapq.merge(*fetched.values(), key=lambda record: record.timestamp))
            metrics.feed_ring_events.set(ring.behind_last - ring.first)
            self._wake_soon()
        else:
            for tp in consumer.assignment():
                ring.skip(tp.partition, await consumer.position(tp))
        return bool(fetched)

    def _wake_soon(self) -> None:
        if self._next_wake is not None:
            return
        loop = asyncio.get_running_loop()
        delay = self._last_wake + WAKE_INTERVAL - loop.time()
        if delay <= 0:
            self.wake()
        else:
            self._next_wake = loop.call_later(delay, self.wake)


def _is_ahead(positions: Sequence[int], others: Sequence[int]) -> bool:
    """Whether one of the positions is behind that of the others in the partition's order of records."""
    return any(position > other for position, other in zip(positions, others, strict=False))


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after the time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
