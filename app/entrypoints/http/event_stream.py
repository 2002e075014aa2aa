"""The feed as server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html.

A stream renders nothing that it does not send at once: it reads the next events when the connection has taken the last
ones. A caller that reads too slowly loses its connection by the write timer of the protocol, or its place in the memory
of the feed, which ends the stream.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from fastapi import Response
from starlette.types import Receive, Scope, Send

from app.cancellation import cancel
from app.entrypoints.http.streams import Streams
from app.service_layer.feed import FeedBatch, FeedCursorExpiredError, FeedReader, FeedUnavailableError

MEDIA_TYPE = "text/event-stream"
PING_SECONDS = 15.0
MAX_SECONDS = 4 * 3600.0
"""Seconds after which a stream ends, so that streams spread over the processes again."""

BATCH = 500
"""Events of one write."""

RETRY_MS = (1000, 5000)
"""Milliseconds until a caller connects again: a random number between these, so that not all return at once."""

_chunks: WeakKeyDictionary[FeedBatch, bytes] = WeakKeyDictionary()


class EventStream(Response):
    """A response that ends after `limit` events, after `MAX_SECONDS`, or when the caller may not read any more."""

    media_type: str | None = MEDIA_TYPE

    def __init__(
        self,
        reader: FeedReader,
        streams: Streams,
        may_continue: Callable[[], Awaitable[bool]],
        *,
        limit: int | None = None,
        is_head: bool = False,
    ) -> None:
        """`may_continue` is called with each ping. For HEAD nothing but the headers is sent."""
        super().__init__()
        # The length of a stream is not known.
        del self.headers["content-length"]
        self._reader = reader
        self._streams = streams
        self._may_continue = may_continue
        self._left = limit
        self._is_head = is_head

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. Raises ProblemError if too many are open."""
        scope["state"]["is_waiting"] = True
        with self._streams.waiting():
            headers = [*self.raw_headers, (b"x-accel-buffering", b"no")]
            await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
            if not self._is_head:
                tasks = [asyncio.create_task(self._send_all(send)), asyncio.create_task(_disconnected(receive))]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    if tasks[0].done():
                        tasks[0].result()
                finally:
                    await cancel(tasks)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, send: Send) -> None:
        """Send events and pings until the stream ends, and the reason for which it ends."""

        async def write(chunk: bytes) -> None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

        await write(b"retry: %d\n%b" % (random.randint(*RETRY_MS), self._ping()))  # noqa: S311 - not a secret
        try:
            reason = await self._send_events(write)
        except FeedCursorExpiredError:
            reason = "cursor-expired"
        except FeedUnavailableError:
            reason = "unavailable"
        await write(_frame(self._reader.cursor, "end", b'{"reason":"%b"}' % reason.encode()))

    async def _send_events(self, write: Callable[[bytes], Awaitable[Any]]) -> str:
        """Send events and pings. Returns the reason for which the stream ends."""
        loop = asyncio.get_running_loop()
        ends, next_ping = loop.time() + MAX_SECONDS, loop.time() + PING_SECONDS
        while True:
            if self._reader.is_behind:
                return "too-slow"
            batch = await self._reader.read(BATCH if self._left is None else min(BATCH, self._left))
            if batch.events:
                await write(_chunk(batch))
                if self._left is not None:
                    self._left -= len(batch.events)
                    if not self._left:
                        return "limit"
            if loop.time() >= next_ping:
                if not await self._may_continue():
                    return "unauthenticated"
                await write(self._ping())
                next_ping = loop.time() + PING_SECONDS
            if loop.time() >= ends:
                return "too-old"
            # Right before the wait: an end that comes while something is written would not end the next wait.
            if self._streams.is_ending:
                return "stopping"
            await self._reader.wait(next_ping - loop.time())

    def _ping(self) -> bytes:
        return _frame(self._reader.cursor, "ping", b"{}")


def _chunk(batch: FeedBatch) -> bytes:
    """The events of the batch, rendered once for all streams that share it."""
    chunk = _chunks.get(batch)
    if chunk is None:
        chunk = b"".join([_frame(event.cursor, event.type, event.json) for event in batch.events])
        _chunks[batch] = chunk
    return chunk


def _frame(cursor: str, kind: str, data: bytes) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (cursor.encode(), kind.encode(), data)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
