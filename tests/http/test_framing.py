"""Where a request ends: no byte of a body becomes a request, however the bytes arrive and whatever they offer.

The service's own protocol behind a real socket, with an application that notes what reaches it, beside a strict parser
that is not the service's (`tests.support.http_streams`).
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.entrypoints.http.limits import Limits
from app.entrypoints.http.protocol import ProblemHttpProtocol
from app.entrypoints.listening import listen
from tests.support.http_streams import CORE, SMUGGLED, Seen, allowed, random_segments, random_stream

DEADLINE = 60.0
"""Seconds within which a stream is answered, or its connection closed."""

RANDOM_STREAMS = 1500
STATUSES = {"/early": 401, "/last": 413}
"""What is answered before the body has been read; 413 ends the connection, as the service's own does."""


@dataclass
class Recorder:
    """An application that notes each request with its body."""

    seen: list[Seen] = field(default_factory=list)
    received: int = 0
    closed: bool = False
    progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def has(self, count: int) -> None:
        """Return when `count` bytes have arrived on the connection, or when it has been closed."""
        while self.received < count and not self.closed:
            self.progress.clear()
            await self.progress.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body and answer, or answer at once."""
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        status = STATUSES.get(scope["path"], 200)
        at, body, complete = len(self.seen), b"", False
        while status == 200 and not complete:
            self.seen[at:] = [Seen(scope["method"].encode(), target, body, complete=False)]
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            complete = not message["more_body"]
        self.seen[at:] = [Seen(scope["method"].encode(), target, body, complete)]
        headers = [(b"content-length", b"0"), *([(b"connection", b"close")] if status == 413 else [])]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


@dataclass
class Stage:
    """A listening service."""

    port: int
    recorder: Recorder

    async def play(self, segments: Sequence[bytes]) -> list[Seen]:
        """Send the segments, each after the one before has arrived. Returns what the application received.

        Raises TimeoutError where a request of the reference is neither answered nor its connection closed.
        """
        recorder = self.recorder
        recorder.seen, recorder.received, recorder.closed = [], 0, False
        expected = sum(seen.complete for seen in allowed(b"".join(segments)))
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(DEADLINE):
                sent = 0
                for segment in segments:
                    writer.write(segment)
                    sent += len(segment)
                    await recorder.has(sent)
                with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                    for _ in range(expected):
                        await _answer(reader)
                    writer.write_eof()
                    await reader.read()
        finally:
            writer.transport.abort()
        return recorder.seen


async def _answer(reader: asyncio.StreamReader) -> None:
    """Read the next final answer."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100 "):
            continue
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(lengths[0].partition(b":")[2]))
        return


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    recorder = Recorder()

    class Counting(ProblemHttpProtocol):
        limits = Limits(header_bytes=1024, read_timeout=300.0)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            recorder.received += len(data)
            recorder.progress.set()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            recorder.closed = True
            recorder.progress.set()

    config = uvicorn.Config(recorder, http=Counting, ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as listener:
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        yield Stage(listener.getsockname()[1], recorder)
        server.force_exit = True
        await server.shutdown(sockets=[listener])


def faults(seen: list[Seen], may: list[Seen]) -> list[str]:
    """What the application received and must not have received."""
    found = []
    for at, each in enumerate(seen):
        if at >= len(may):
            found.append(f"{each} is not a request")
            continue
        reference = may[at]
        if (each.method, _origin_form(each.target)) != (reference.method, _origin_form(reference.target)):
            found.append(f"{each} is not {reference}")
        elif not _is_body(each, reference):
            found.append(f"{each} has another body than {reference}")
    return found


def _is_body(seen: Seen, reference: Seen) -> bool:
    if seen.complete:
        return reference.complete and seen.body == reference.body
    return reference.body.startswith(seen.body) or seen.body.startswith(reference.body)


def _origin_form(target: bytes) -> bytes:
    """The target without scheme and authority, as an application sees it."""
    return b"/" + target.split(b"/", 3)[3] if target.startswith(b"http://") else target


@pytest.mark.parametrize("stream", CORE.values(), ids=CORE.keys())
async def test_no_byte_of_a_body_is_a_request_wherever_the_bytes_are_split(stream: bytes) -> None:
    may = allowed(stream)
    found = []
    async with stage() as service:
        for cut in range(len(stream)):
            seen = await service.play([stream[:cut], stream[cut:]] if cut else [stream])
            found += [f"split at {cut}: {fault}" for fault in faults(seen, may)]
    assert found == []


async def test_no_byte_of_a_body_is_a_request_in_random_streams() -> None:
    found = []
    async with stage() as service:
        for seed in range(RANDOM_STREAMS):
            choose = random.Random(seed)
            stream = random_stream(choose)
            try:
                seen = await service.play(random_segments(choose, stream))
            except TimeoutError:
                found.append(f"seed {seed}: no answer")
                continue
            found += [f"seed {seed}: {fault}" for fault in faults(seen, allowed(stream))]
    assert found == []


def test_the_reference_separates_requests_from_bodies() -> None:
    first, second = Seen(b"POST", b"/first", SMUGGLED, complete=True), Seen(b"GET", b"/next", b"", complete=True)
    assert allowed(CORE["an offer of h2c with a length"]) == [first, second]
    assert allowed(CORE["the last request"]) == [first]
    assert allowed(CORE["a body that does not end"]) == [Seen(b"POST", b"/first", SMUGGLED, complete=False)]
