"""The feed: the published events, as callers of the HTTP interface read them. The adapter of the broker provides it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

EARLIEST = "earliest"
"""The cursor of the first event that is kept."""


class InvalidFeedCursorError(Exception):
    """The text is not a cursor of the feed."""


class FeedCursorExpiredError(Exception):
    """Events after the cursor are no longer kept, or the topic was created again. `first_cursor` is valid."""

    def __init__(self, reason: str, first_cursor: str) -> None:
        super().__init__(reason)
        self.first_cursor = first_cursor


class FeedUnavailableError(Exception):
    """The broker does not respond. The text is for callers."""


@dataclass(frozen=True, slots=True)
class FeedFilter:
    """Which events a caller reads: of one SKU, of one type, or all."""

    sku: str | None = None
    type: str | None = None

    def matches(self, event: "FeedEvent") -> bool:
        """Whether the caller reads the event."""
        return (self.sku is None or self.sku == event.sku) and (self.type is None or self.type == event.type)


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """A published event. `json` is the CloudEvent in structured mode, `cursor` continues after the event."""

    sku: str
    type: str
    json: bytes
    cursor: str


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class FeedBatch:
    """Consecutive events. Readers at the same place with the same filter share one object."""

    events: Sequence[FeedEvent]


class FeedReader(Protocol):
    """A place in the feed, which moves on as it is read."""

    @property
    def cursor(self) -> str:
        """The cursor of the place."""

    @property
    def is_at_end(self) -> bool:
        """Whether no further event is known."""

    @property
    def is_behind(self) -> bool:
        """Whether the next events have left the memory of this process since the last read."""

    async def read(self, limit: int) -> FeedBatch:
        """The next events of the filter, at most `limit`. An empty batch does not mean that the end is reached.

        Raises FeedCursorExpiredError, FeedUnavailableError.
        """

    async def wait(self, seconds: float) -> None:
        """Return when there may be further events, when `EventFeed.wake` is called, or after the time."""


class EventFeed(Protocol):
    """The published events, oldest first. The events of a SKU are in the order of their sequences."""

    async def run(self) -> None:
        """Follow the topic until cancelled. Without it the feed is unavailable."""

    async def open(self, cursor: str | None, which: FeedFilter) -> FeedReader:
        """A reader at the cursor: a cursor of the feed, `EARLIEST`, or None for the present end.

        Raises InvalidFeedCursorError, FeedCursorExpiredError, FeedUnavailableError.
        """

    def wake(self) -> None:
        """End each `FeedReader.wait`."""
