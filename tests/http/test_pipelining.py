"""Pipelined requests on one connection are answered in order, and few may wait."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from app.entrypoints.http.protocol import ProblemHttpProtocol
from app.entrypoints.http.refusals import MAX_PIPELINED
from app.settings import Settings
from tests.http.test_connections import HEAD, LATE, SOON, Wire, connected
from tests.http.test_overload import served
from tests.support.api import new
from tests.support.database import raw_connection, waiting_for_a_lock
from tests.support.waiting import eventually

ASK = HEAD + b"\r\n"


@asynccontextmanager
async def held_up(settings: Settings, client: httpx.AsyncClient, wire: Wire) -> AsyncIterator[None]:
    """A request for an allocation is under way on the wire while the block runs, and is answered afterwards."""
    url, sku = settings.database_url.get_secret_value(), new("sku")
    created = await client.post("/v1/batches", json={"ref": new("batch"), "sku": sku, "qty": 100})
    assert created.status_code == 201
    line = json.dumps({"order_id": new("order"), "sku": sku, "qty": 1}).encode()
    async with raw_connection(url, cell_of=sku) as blocker, blocker.transaction():
        await blocker.execute("SELECT FROM products WHERE sku = $1 FOR UPDATE", sku)
        await wire.send(
            b"POST /v1/allocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(line), line)
        )
        await waiting_for_a_lock(url)
        yield


async def test_only_some_requests_wait_behind_another(settings: Settings) -> None:
    async with served(settings) as client, connected(client) as wire:
        async with held_up(settings, client, wire):
            await wire.send(ASK * 5000)
        assert (await wire.answer())[0] == 201
        assert [(await wire.answer())[0] for _ in range(MAX_PIPELINED)] == [200] * MAX_PIPELINED
        await wire.is_refused(503, "overloaded")


@pytest.mark.parametrize(
    ("behind", "status", "code"),
    [
        (b"no request\r\n\r\n", 400, "malformed-request"),
        (HEAD + b"X-Much: " + b"a" * 40_000 + b"\r\n\r\n", 431, "headers-too-large"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "uri-too-long"),
    ],
    ids=["nonsense", "too large", "too long"],
)
async def test_a_refusal_waits_for_its_turn(settings: Settings, behind: bytes, status: int, code: str) -> None:
    async with served(settings) as client, connected(client) as wire:
        async with held_up(settings, client, wire):
            await wire.send(ASK + behind)
        assert [(await wire.answer())[0] for _ in range(2)] == [201, 200]
        await wire.is_refused(status, code)


async def test_a_refusal_may_wait_longer_than_a_request_may_take_to_arrive(settings: Settings) -> None:
    broken = b"POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n"
    async with served(settings.model_copy(update={"http_read_timeout": 2 * SOON})) as client, connected(client) as wire:
        async with held_up(settings, client, wire):
            await wire.send(broken)
            # Longer than the timeout, twice.
            for _ in range(2):
                async with connected(client) as other:
                    await other.is_closed()
        assert (await wire.answer())[0] == 201
        await wire.is_refused(400, "malformed-request")


async def test_a_refusal_of_what_is_asked_for_with_head_has_no_body(settings: Settings) -> None:
    settings = settings.model_copy(update={"http_max_concurrent": 1})
    async with served(settings) as client, connected(client) as wire, connected(client) as other:
        async with held_up(settings, client, wire):
            await other.send(b"HEAD /v1/batches/none HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(LATE):
                head = await other.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            await other.send(ASK)
            assert (await other.answer())[0] == 200
        assert (await wire.answer())[0] == 201


async def test_bytes_after_a_body_are_not_headers(settings: Settings) -> None:
    request = (
        b"POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX-Request-ID: from-behind\r\n\r\n"
    )
    async with served(settings) as client, connected(client) as wire:
        await wire.send(request)
        status, headers, _ = await wire.answer()
        assert (status, headers["x-request-id"] == "from-behind") == (400, False)


async def test_an_offer_of_another_protocol_is_answered_with_http_1_1(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    offer = HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    async with served(settings) as client, connected(client) as wire:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                await wire.send(offer)
                assert (await wire.answer())[0] == 200
    # The broker is away, which the feed logs.
    assert [record for record in caplog.records if "kafka" not in record.name] == []


async def test_more_requests_do_not_extend_the_time_to_read_a_response(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each unread response counts against `http_max_concurrent`."""
    settings = settings.model_copy(update={"http_read_timeout": 3 * SOON, "http_max_concurrent": 1})
    request = b"GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    paused, pause = asyncio.Event(), ProblemHttpProtocol.pause_writing

    def note_pause(protocol: ProblemHttpProtocol) -> None:
        pause(protocol)
        paused.set()

    monkeypatch.setattr(ProblemHttpProtocol, "pause_writing", note_pause)
    async with served(settings) as client:
        loop = asyncio.get_running_loop()
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.setblocking(False)
            await loop.sock_connect(caller, (client.base_url.host, client.base_url.port))

            async def is_stuck() -> bool:
                if not paused.is_set():
                    # The socket buffers can hold a whole response.
                    await loop.sock_sendall(caller, request)
                return paused.is_set() and (await client.get("/v1/batches/none")).status_code == 503

            async def is_free() -> bool:
                return (await client.get("/v1/batches/none")).status_code == 404

            await eventually(is_stuck, seconds=LATE)
            await loop.sock_sendall(caller, request)
            await eventually(is_free, seconds=LATE)
