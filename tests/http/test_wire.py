"""Requests as bytes: offers of other protocols are ignored as RFC 9110, 7.8, allows, and the host is checked."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from app.settings import Settings
from tests.http.test_connections import HEAD, Wire, connected
from tests.http.test_overload import served
from tests.support.api import new
from tests.support.http_streams import H2C, WEBSOCKET

OFFERS = {"h2c": H2C, "websocket": WEBSOCKET}


@pytest.fixture
async def client(shared_settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service behind a socket."""
    async with served(shared_settings) as client:
        yield client


async def sent_apart(wire: Wire, head: bytes, body: bytes) -> None:
    """The body is sent once the head has been read: the service asks for the body with 100 Continue."""
    await wire.send(head + b"Expect: 100-continue\r\n\r\n")
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await wire.send(body)


def post(path: str) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" % path.encode()


@pytest.mark.parametrize("apart", [False, True], ids=["in one piece", "head first"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())
async def test_a_body_behind_an_upgrade_offer_is_read(
    client: httpx.AsyncClient, offer: bytes, *, chunked: bool, apart: bool
) -> None:
    async with connected(client) as wire:
        for _ in range(2):
            ref = new("batch")
            body = json.dumps({"ref": ref, "sku": new("sku"), "qty": 3}).encode()
            framing = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % len(body)
            head = post("/v1/batches") + offer + framing
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
            if apart:
                await sent_apart(wire, head, body)
            else:
                await wire.send(head + b"\r\n" + body)
            status, _, answer = await wire.answer()
            assert (status, json.loads(answer)["ref"]) == (201, ref)


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())
async def test_a_body_that_reads_like_a_request_is_not_run(client: httpx.AsyncClient, offer: bytes) -> None:
    ref = new("batch")
    batch = json.dumps({"ref": ref, "sku": new("sku"), "qty": 3}).encode()
    hidden = post("/v1/batches") + b"Content-Length: %d\r\n\r\n%b" % (len(batch), batch)
    async with connected(client) as wire:
        await sent_apart(wire, post("/v1/batches") + offer + b"Content-Length: %d\r\n" % len(hidden), hidden)
        status, _, answer = await wire.answer()
        assert (status, json.loads(answer)["code"]) == (400, "malformed-body")
        # The next answer on this connection is that to the next request, and so not one to the hidden request.
        await wire.send(HEAD + b"\r\n")
        assert (await wire.answer())[2] == b'{"status":"alive"}'
    assert (await client.get(f"/v1/batches/{ref}")).status_code == 404


async def test_connect_is_refused_and_nothing_behind_it_is_read(client: httpx.AsyncClient) -> None:
    async with connected(client) as wire:
        await wire.send(
            b"CONNECT service:80 HTTP/1.1\r\nHost: service\r\n\r\nGET /livez HTTP/1.1\r\nHost: service\r\n\r\n"
        )
        await wire.is_refused(400, "malformed-request")


HOSTS = {
    "none": b"",
    "two": b"Host: service\r\nHost: service\r\n",
    "empty": b"Host:\r\n",
    "a blank": b"Host: ser vice\r\n",
    "two in one": b"Host: service, other\r\n",
    "a path": b"Host: service/path\r\n",
    "a user": b"Host: user@service\r\n",
    "no port": b"Host: service:http\r\n",
    "a port too large": b"Host: service:65536\r\n",
    "brackets": b"Host: [service]\r\n",
    "no brackets": b"Host: ::1\r\n",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS.keys())
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_request_names_one_possible_host(client: httpx.AsyncClient, method: bytes, host: bytes) -> None:
    async with connected(client) as wire:
        await wire.send(method + b" /livez HTTP/1.1\r\n" + host + b"\r\n")
        await wire.is_refused(400, "malformed-request")


@pytest.mark.parametrize("host", [b"a", b"a.b-c_d:80", b"127.0.0.1:8000", b"[::1]:8000", b"[::1]", b"a:"], ids=repr)
async def test_hosts_of_every_form_are_accepted(client: httpx.AsyncClient, host: bytes) -> None:
    async with connected(client) as wire:
        await wire.send(b"GET /livez HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert (await wire.answer())[0] == 200


async def test_http_1_0_needs_no_host(client: httpx.AsyncClient) -> None:
    async with connected(client) as wire:
        await wire.send(b"GET /livez HTTP/1.0\r\n\r\n")
        assert (await wire.answer())[0] == 200
        await wire.is_closed()
