"""The newest events of the topic in memory, in the order in which this process received them.

Entries have numbers that grow; the oldest are dropped when there are too many or too large ones. Positions are the next
offset of each partition. The positions after each entry are stored with it, so an entry can be found by positions.
"""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from itertools import islice

from aiokafka import ConsumerRecord

from app.adapters.kafka.feed_cursor import encode, padded
from app.integration.feed_events import read_published, sku_of
from app.service_layer.feed import FeedBatch, FeedEvent, FeedFilter

MAX_EVENTS = 10_000
MAX_BYTES = 16 * 1024 * 1024

_HEADERS_BYTES = 1500
"""The approximate memory of the headers of a record."""

Positions = tuple[int, ...]


class _Entry:
    """A record. It is parsed when a reader needs it, because most processes have no reader."""

    __slots__ = ("_event", "_record", "offset", "partition", "positions", "size")

    def __init__(self, record: ConsumerRecord, positions: Positions) -> None:
        self.partition: int = record.partition
        self.offset: int = record.offset
        self.positions = positions
        self.size = len(record.value or b"") + _HEADERS_BYTES
        self._record: ConsumerRecord | None = record
        self._event: FeedEvent | None = None

    def event(self, topic_id: bytes) -> FeedEvent | None:
        """See `event_of`."""
        if self._record is not None:
            self._event = event_of(self._record, encode(topic_id, self.positions))
            self._record = None
        return self._event


def event_of(record: ConsumerRecord, cursor: str) -> FeedEvent | None:
    """The event in the record; None if `read_published` finds none."""
    event = read_published(record.headers, record.value)
    return None if event is None else FeedEvent(sku_of(event), event.type, event.to_json(), cursor)


class Ring:
    """The newest events of one topic. A topic that was created again needs a new ring."""

    def __init__(
        self,
        topic_id: bytes,
        start: Sequence[int],
        *,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.topic_id = topic_id
        self.start: Positions = tuple(start)
        self.end: list[int] = list(start)
        self.first = 0
        self._entries: deque[_Entry] = deque()
        self._bytes = 0
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._batches: dict[tuple[int, int, FeedFilter], tuple[FeedBatch, int]] = {}
        self._index: defaultdict[str | None, list[tuple[int, FeedEvent]]] = defaultdict(list)
        self._indexed_from: int | None = None

    @property
    def behind_last(self) -> int:
        """The number that the next entry will have."""
        return self.first + len(self._entries)

    def append(self, records: Iterable[ConsumerRecord]) -> None:
        """Add records, those of a partition in their order, and drop the oldest entries beyond the limits."""
        self._batches.clear()
        self._indexed_from = None
        self._index.clear()
        for record in records:
            if record.offset < self.end[record.partition]:
                # Read again after the consumer was restarted.
                continue
            self.end[record.partition] = record.offset + 1
            entry = _Entry(record, tuple(self.end))
            self._entries.append(entry)
            self._bytes += entry.size
        while len(self._entries) > self._max_events or (self._bytes > self._max_bytes and len(self._entries) > 1):
            dropped = self._entries.popleft()
            self._bytes -= dropped.size
            self.first += 1
            self.start = padded(dropped.positions, len(self.end))

    def skip(self, partition: int, position: int) -> None:
        """Move past offsets without a record, such as the markers of transactions."""
        self.end[partition] = max(self.end[partition], position)

    def add_partitions(self, partitions: int) -> None:
        """Begin new partitions at their first offset."""
        self.start, self.end = padded(self.start, partitions), list(padded(self.end, partitions))

    def holds(self, positions: Positions) -> bool:
        """Whether all events after the positions are in the ring, or newer."""
        return all(position >= start for position, start in zip(positions, self.start, strict=True))

    def number_after(self, positions: Positions) -> int:
        """The first number after which an entry may be behind the positions: all entries before it were read.

        The positions after the entries grow in each partition, so those that the caller has reached come first.
        """

        def is_ahead(entry: _Entry) -> bool:
            return any(after > position for after, position in zip(entry.positions, positions, strict=False))

        return self.first + bisect_right(self._entries, x=False, key=is_ahead)

    def positions_before(self, number: int) -> Positions:
        """The positions before the entry with the number."""
        if number >= self.behind_last:
            return tuple(self.end)
        return self.start if number <= self.first else self._entries[number - self.first - 1].positions

    def batch(self, number: int, limit: int, which: FeedFilter) -> tuple[FeedBatch, int]:
        """At most `limit` events of the filter from the number on, and the number behind the last one that was read.

        The batch is shared by all callers with the same arguments.
        """
        key = (number, limit, which)
        found = self._batches.get(key)
        if found is None:
            events: list[FeedEvent] = []
            behind = self.behind_last
            for place, event in self._index_from(number).get(which.sku, ()):
                if which.matches(event):
                    events.append(event)
                    if len(events) == limit:
                        behind = place + 1
                        break
            found = self._batches[key] = FeedBatch(events), behind
        return found

    def _index_from(self, number: int) -> dict[str | None, list[tuple[int, FeedEvent]]]:
        """The events from the number on, with their numbers, by SKU and, for None, all of them.

        Most readers have read up to the same number, so one pass over the entries serves their filters.
        """
        if self._indexed_from != number:
            self._indexed_from = number
            self._index = defaultdict(list)
            for place, entry in enumerate(self._from(number), number):
                event = entry.event(self.topic_id)
                if event is not None:
                    self._index[event.sku].append((place, event))
                    self._index[None].append((place, event))
        return self._index

    def merge(
        self, number: int, limit: int, which: FeedFilter, positions: Positions
    ) -> tuple[FeedBatch, int, Positions]:
        """Like `batch`, for a caller that has read some of the entries: those before its positions are left out."""
        reached = list(padded(positions, len(self.end)))
        events: list[FeedEvent] = []
        for entry in self._from(number):
            number += 1
            if entry.offset < reached[entry.partition]:
                continue
            reached[entry.partition] = entry.offset + 1
            event = entry.event(self.topic_id)
            if event is not None and which.matches(event):
                events.append(FeedEvent(event.sku, event.type, event.json, encode(self.topic_id, reached)))
                if len(events) == limit:
                    break
        if number == self.behind_last:
            reached = [max(pair) for pair in zip(reached, self.end, strict=True)]
        return FeedBatch(events), number, tuple(reached)

    def has_reached(self, number: int, positions: Positions) -> bool:
        """Whether the positions are those before the entry with the number, so that `batch` can continue."""
        return padded(self.positions_before(number), len(positions)) == positions

    def _from(self, number: int) -> Sequence[_Entry]:
        # From the right: readers are close to the end, and an index into the middle of a deque is slow.
        newest = list(islice(reversed(self._entries), self.behind_last - number))
        newest.reverse()
        return newest
