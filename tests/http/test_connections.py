"""Callers that send too much, too slowly or on too many connections get an error; other callers are served."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from app.settings import Settings
from tests.http.test_overload import served
from tests.support.api import new
from tests.support.database import raw_connection, waiting_for_a_lock
from tests.support.waiting import eventually

HEAD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
SOON = 1.0
LATE = 60.0


@dataclass
class Wire:
    """A connection to the service, byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next response: status, headers, body."""
        async with asyncio.timeout(LATE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    async def is_refused(self, status: int, code: str) -> None:
        """Assert that the next response is this problem, and that the connection is closed after it."""
        answered, headers, body = await self.answer()
        problem = json.loads(body)
        assert (answered, problem["status"], problem["code"]) == (status, status, code)
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        await self.is_closed()

    async def is_closed(self) -> None:
        """Assert that the connection is closed without further bytes."""
        async with asyncio.timeout(LATE):
            assert await self.reader.read() == b""


@asynccontextmanager
async def connected(client: httpx.AsyncClient) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    try:
        yield Wire(reader, writer)
    finally:
        # Discard what has not been sent yet.
        writer.transport.abort()


@pytest.fixture
async def patient(shared_settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service with a read timeout longer than any test, so that only sizes count."""
    limits = {"http_read_timeout": 300.0, "http_max_header_bytes": 4096}
    async with served(shared_settings.model_copy(update=limits)) as client:
        yield client


@pytest.fixture
async def hasty(shared_settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service with a very short read timeout."""
    async with served(shared_settings.model_copy(update={"http_read_timeout": SOON})) as client:
        yield client


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD, b"X-Much: " + b"a" * 5000 + b"\r\n\r\n"],
        [HEAD, *[b"X-Small-%d: 1\r\n" % number for number in range(200)], b"\r\n"],
        [HEAD, b"X" * 5000 + b": 1\r\n\r\n"],
    ],
    ids=["a long value", "many of them", "a long name"],
)
async def test_headers_that_are_too_large_are_refused(patient: httpx.AsyncClient, pieces: list[bytes]) -> None:
    async with connected(patient) as wire:
        await wire.send(b"".join(pieces))
        await wire.is_refused(431, "headers-too-large")
    assert (await patient.get("/livez")).status_code == 200


@pytest.mark.parametrize("start", [HEAD + b"X-Endless: ", HEAD + b"X", b"GET /", b"\r\n"], ids=str)
async def test_a_head_that_never_ends_is_refused(patient: httpx.AsyncClient, start: bytes) -> None:
    """The parser reports only complete headers, so an incomplete one is limited by the bytes received."""
    filler = b"\r\n" * 512 if start == b"\r\n" else b"a" * 1024
    async with connected(patient) as wire:
        await wire.send(start)

        async def send() -> None:
            while True:
                await wire.send(filler)

        sending = asyncio.create_task(send())
        try:
            if start == b"GET /":
                await wire.is_refused(414, "uri-too-long")
            elif start != b"\r\n":
                await wire.is_refused(431, "headers-too-large")
        except ConnectionResetError:
            pass  # Bytes that arrive after the service has disconnected can discard the response.
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert (await patient.get("/livez")).status_code == 200


async def test_headers_within_bounds_are_read_in_any_pieces(patient: httpx.AsyncClient) -> None:
    request = HEAD + b"X-Much: " + b"a" * 3000 + b"\r\n\r\n"
    async with connected(patient) as wire:
        for _ in range(3):
            await wire.send(*(request[at : at + 7] for at in range(0, len(request), 7)))
            assert (await wire.answer())[0] == 200
        # The limits apply to each request, however many arrive together.
        await wire.send(request * 5)
        assert [(await wire.answer())[0] for _ in range(5)] == [200] * 5


async def test_an_address_that_is_too_long_is_refused(patient: httpx.AsyncClient) -> None:
    async with connected(patient) as wire:
        await wire.send(b"GET /v1/batches/" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await wire.is_refused(414, "uri-too-long")


BODY = b"POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize("begun", [b"G", HEAD, HEAD + b"X-Slow: ", BODY, BODY + b'{"ref": '], ids=str)
async def test_a_request_that_does_not_arrive_in_time_is_refused(hasty: httpx.AsyncClient, begun: bytes) -> None:
    async with connected(hasty) as wire:
        await wire.send(begun)
        await wire.is_refused(408, "request-timeout")


async def test_a_request_that_arrives_byte_by_byte_has_no_more_time(hasty: httpx.AsyncClient) -> None:
    async with connected(hasty) as wire:

        async def drip() -> None:
            while True:
                await wire.send(b"X-Slow: 1\r\n")
                await asyncio.sleep(SOON / 20)

        await wire.send(HEAD)
        dripping = asyncio.create_task(drip())
        try:
            await wire.is_refused(408, "request-timeout")
        except ConnectionResetError:
            pass  # See above.
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)


@pytest.mark.parametrize("first", [b"", HEAD + b"\r\n"], ids=["at once", "after a request"])
async def test_a_connection_with_empty_lines_only_is_closed_without_a_response(
    hasty: httpx.AsyncClient, first: bytes
) -> None:
    async with connected(hasty) as wire:
        if first:
            await wire.send(first)
            assert (await wire.answer())[0] == 200
        await wire.send(b"\r\n")
        await wire.is_closed()


async def test_a_silent_connection_is_closed_without_a_response(hasty: httpx.AsyncClient) -> None:
    async with connected(hasty) as wire:
        await wire.is_closed()


async def test_the_time_to_arrive_is_not_the_time_to_answer(settings: Settings) -> None:
    settings = settings.model_copy(update={"http_read_timeout": SOON, "bus_workers": 1})
    sku, ref = new("sku"), new("batch")
    async with (
        served(settings) as client,
        raw_connection(settings.database_url.get_secret_value(), cell_of=sku) as blocker,
        connected(client) as wire,
    ):
        created = await client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": 100})
        assert created.status_code == 201
        line = json.dumps({"order_id": "order-1", "sku": sku, "qty": 1}).encode()
        async with blocker.transaction():
            await blocker.execute("SELECT FROM products WHERE sku = $1 FOR UPDATE", sku)
            await wire.send(
                b"POST /v1/allocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(line), line)
            )
            await waiting_for_a_lock(settings.database_url.get_secret_value())
            # The next request begins before the first is answered, and never ends.
            await wire.send(HEAD)
            async with connected(client) as other:
                # Longer than the timeouts of both.
                await other.is_closed()
                async with connected(client) as another:
                    await another.is_closed()
        assert (await wire.answer())[0] == 201
        await wire.is_refused(408, "request-timeout")


async def test_a_caller_that_does_not_read_the_response_is_disconnected(hasty: httpx.AsyncClient) -> None:
    path = "/docs/static/swagger-ui-bundle.js"
    counted = 'allocation_http_requests_total{method="GET",route="/docs/static/{name}",status="200"}'

    async def answered() -> float:
        lines = (await hasty.get("/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(counted))

    before = await answered()
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(caller, (hasty.base_url.host, hasty.base_url.port))
        await loop.sock_sendall(caller, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

        async def is_over() -> bool:
            return await answered() > before

        await eventually(is_over, seconds=LATE)


async def test_beyond_the_limit_of_connections_only_probes_are_answered(
    shared_settings: Settings,
) -> None:
    async with served(shared_settings.model_copy(update={"http_max_connections": 2})) as client:
        async with connected(client) as first, connected(client) as second:
            for wire in (first, second):
                await wire.send(HEAD + b"\r\n")
                assert (await wire.answer())[0] == 200
            async with connected(client) as third:
                await third.send(b"GET /v1/batches/batch-1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await third.is_refused(503, "overloaded")
            async with connected(client) as third:
                await third.send(HEAD + b"\r\n")
                assert (await third.answer())[0] == 200
                await third.is_closed()
            async with connected(client) as third:
                await third.is_closed()
            await first.send(b"GET /v1/batches/batch-1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await first.answer())[0] == 404

        async def is_free() -> bool:
            return (await client.get("/v1/batches/batch-1")).status_code == 404

        await eventually(is_free, seconds=LATE)
