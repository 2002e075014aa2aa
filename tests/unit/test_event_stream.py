"""The stream of events, with a feed and a connection in memory."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from app.entrypoints.http.event_stream import EventStream
from app.entrypoints.http.streams import Streams
from app.service_layer.feed import FeedBatch, FeedEvent


class OneEvent:
    """A reader of a feed with one event. `wake` ends the waits that have begun, as the feed does."""

    cursor, is_at_end, is_behind = "place", True, False

    def __init__(self) -> None:
        self._events = [FeedEvent("CHAIR", "line_allocated.v1", b"{}", "place")]
        self._news = asyncio.Event()

    def wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def read(self, limit: int) -> FeedBatch:
        events, self._events = self._events[:limit], []
        return FeedBatch(events)

    async def wait(self, seconds: float) -> None:
        await self._news.wait()


async def test_a_stream_ends_where_the_service_stops_while_an_event_is_sent() -> None:
    reader = OneEvent()
    streams = Streams(1, reader.wake)
    sent: list[bytes] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        body = message.get("body", b"")
        sent.append(body)
        if b"line_allocated" in body:
            streams.end()

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def may_continue() -> bool:
        return True

    async with asyncio.timeout(5):
        await EventStream(reader, streams, may_continue)({"type": "http", "state": {}}, receive, send)

    assert b'{"reason":"stopping"}' in sent[-2]
    assert streams.open == 0
