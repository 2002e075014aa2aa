"""A place in the feed: reads the ring if it has the position, else pages from the broker."""

from typing import Protocol

from app.adapters.kafka.feed_cursor import encode, padded
from app.adapters.kafka.feed_ring import Positions, Ring, event_of
from app.adapters.kafka.topic_log import LogPage
from app.service_layer.feed import FeedBatch, FeedCursorExpiredError, FeedEvent, FeedFilter

GONE = "events after the cursor are no longer kept; continue with first_cursor, and expect a gap"
NEW_TOPIC = "the cursor belongs to a topic that was deleted and created again; continue with first_cursor"


class _Source(Protocol):
    @property
    def ring(self) -> Ring:
        """The newest events."""

    def keep(self) -> None:
        """Continue to follow the topic."""

    async def page(self, ring: Ring, positions: Positions) -> LogPage:
        """See `KafkaFeed.page`."""

    async def news(self, seconds: float) -> None:
        """Wait until the ring gets an entry, at most that long."""


class KafkaFeedReader:
    """Implements `FeedReader`."""

    def __init__(self, feed: _Source, ring: Ring, positions: Positions, which: FeedFilter) -> None:
        self._feed = feed
        self._ring = ring
        self._positions = positions
        self._which = which
        # The number of the next entry in the ring; None while older records are read from the broker.
        self._number: int | None = None
        # Whether this reader has read all entries before the number and no other.
        self._is_in_step = False

    @property
    def cursor(self) -> str:
        """The topic and the positions of the records to be read next."""
        return encode(self._ring.topic_id, self._positions)

    @property
    def is_at_end(self) -> bool:
        """Whether the ring has no further entry."""
        return self._number is not None and self._number >= self._ring.behind_last and self._ring is self._feed.ring

    @property
    def is_behind(self) -> bool:
        """Whether the next entries were dropped from the ring."""
        return self._number is not None and self._number < self._ring.first

    async def wait(self, seconds: float) -> None:
        """Return when there may be further events, or after the time."""
        self._feed.keep()
        if self.is_at_end:
            await self._feed.news(seconds)

    async def read(self, limit: int) -> FeedBatch:
        """The next events. Raises FeedCursorExpiredError, FeedUnavailableError."""
        self._feed.keep()
        self._move_to(self._feed.ring)
        ring = self._ring
        if self._number is None or self.is_behind:
            if not ring.holds(self._positions):
                self._number = None
                return await self._read_from_broker(limit)
            self._number, self._is_in_step = ring.number_after(self._positions), False
        if not self._is_in_step:
            self._is_in_step = ring.has_reached(self._number, self._positions)
        if self._is_in_step:
            batch, self._number = ring.batch(self._number, limit, self._which)
            self._positions = padded(ring.positions_before(self._number), len(ring.end))
            return batch
        batch, self._number, self._positions = ring.merge(self._number, limit, self._which, self._positions)
        return batch

    def _move_to(self, ring: Ring) -> None:
        """Continue in the present ring. Raises FeedCursorExpiredError if the topic was created again."""
        if ring.topic_id != self._ring.topic_id:
            raise FeedCursorExpiredError(NEW_TOPIC, encode(ring.topic_id, ring.start))
        if ring is not self._ring:
            self._ring, self._number = ring, None
        self._positions = padded(self._positions, len(ring.end))

    async def _read_from_broker(self, limit: int) -> FeedBatch:
        ring = self._ring
        page = await self._feed.page(ring, self._positions)
        reached = list(self._positions)
        events: list[FeedEvent] = []
        for record in page.records:
            reached[record.partition] = record.offset + 1
            event = event_of(record, "")
            if event is not None and self._which.matches(event):
                events.append(FeedEvent(event.sku, event.type, event.json, encode(ring.topic_id, reached)))
                if len(events) == limit:
                    break
        else:
            reached = list(page.positions)
        self._positions = tuple(reached)
        return FeedBatch(events)
