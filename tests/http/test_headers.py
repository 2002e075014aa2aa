"""Headers that every request and every answer have in common, and HEAD."""

from collections.abc import AsyncIterator

import httpx
import pytest

from app.settings import Settings
from tests.http.test_connections import HEAD, connected
from tests.http.test_overload import served
from tests.support.api import Api, assert_problem, new

SINGLE = ["Content-Type", "Idempotency-Key", "X-Request-ID", "X-Correlation-ID", "traceparent"]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def client(shared_settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service behind a socket."""
    async with served(shared_settings) as client:
        yield client


def value_of(name: str, number: int) -> str:
    return {"Content-Type": "application/json", "traceparent": TRACEPARENT}.get(name, f"value-{number}")


@pytest.mark.parametrize("different", [False, True], ids=["the same", "another"])
@pytest.mark.parametrize("name", SINGLE)
async def test_a_header_that_may_occur_once_is_refused_twice(api: Api, name: str, *, different: bool) -> None:
    ref = new("batch")
    headers = [(name, value_of(name, 1)), (name.lower(), value_of(name, 1 + different))]
    batch = {"ref": ref, "sku": new("sku"), "qty": 1}
    if name == "Content-Type":
        answer = await api.client.post(
            "/v1/batches", content=httpx.Request("POST", "/", json=batch).content, headers=headers
        )
    else:
        answer = await api.client.post("/v1/batches", json=batch, headers=headers)
    assert_problem(answer, 400, "malformed-request", f"the header {name.lower()} was sent more than once")
    assert (await api.client.get(f"/v1/batches/{ref}")).status_code == 404


async def test_a_list_may_be_sent_in_several_headers(api: Api) -> None:
    headers = [("Accept", "application/json"), ("Accept", "*/*"), ("tracestate", "a=1"), ("tracestate", "b=2")]
    assert (await api.client.get("/livez", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/docs", 200),
        ("GET", "/v1/products", 200),
        ("GET", "/v1/batches/none", 404),
        ("GET", "/nothing", 404),
        ("DELETE", "/livez", 405),
        ("POST", "/v1/batches", 400),
        ("DELETE", "/v1/allocations/none/none", 404),
    ],
)
async def test_no_answer_is_stored_or_sniffed(api: Api, method: str, path: str, status: int) -> None:
    answer = await api.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers.get_list("cache-control") == ["no-store"]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


async def test_the_files_of_the_documentation_may_be_cached(api: Api) -> None:
    answer = await api.client.get("/docs/static/swagger-ui.css")
    assert answer.headers.get_list("cache-control") == ["public, max-age=3600"]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


async def test_refusals_of_the_protocol_are_neither_stored_nor_sniffed(client: httpx.AsyncClient) -> None:
    for request in (b"nonsense\r\n\r\n", HEAD + b"X-Much: " + b"a" * 40_000 + b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        async with connected(client) as wire:
            await wire.send(request)
            status, headers, _ = await wire.answer()
            assert status in {400, 431}
            assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


PATHS = ["/livez", "/readyz", "/openapi.json", "/docs", "/docs/static/swagger-ui.css", "/v1/products", "/asyncapi"]


@pytest.mark.parametrize("path", [*PATHS, "/v1/batches/none", "/nothing"])
async def test_head_is_answered_as_get_without_the_body(client: httpx.AsyncClient, path: str) -> None:
    got = await client.get(path)
    async with connected(client) as wire:
        for _ in range(2):
            await wire.send(f"HEAD {path} HTTP/1.1\r\nHost: {client.base_url.netloc.decode()}\r\n\r\n".encode())
            head = (await wire.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            assert int(head[0].split()[1]) == got.status_code
            assert {**headers, "x-request-id": "", "date": ""} == {**got.headers, "x-request-id": "", "date": ""}
        # The next bytes on the connection are the next response: a body would have come before it.
        await wire.send(HEAD + b"\r\n")
        assert (await wire.answer())[2] == b'{"status":"alive"}'


async def test_head_is_refused_where_get_is_not_answered(api: Api) -> None:
    answer = await api.client.head("/v1/allocations")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await api.client.delete("/livez")).headers["allow"] == "GET, HEAD"


async def test_head_is_counted_as_head(api: Api) -> None:
    counted = 'allocation_http_requests_total{method="HEAD",route="/v1/batches/{ref}",status="404"} '
    await api.client.head(f"/v1/batches/{new('batch')}")
    assert counted in (await api.client.get("/metrics")).text


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "identity, gzip", "unknown"])
async def test_a_body_in_another_coding_is_refused_and_the_right_one_is_named(api: Api, coding: str) -> None:
    answer = await api.client.post("/v1/batches", json={}, headers={"Content-Encoding": coding})
    assert_problem(answer, 415, "unsupported-media-type")
    assert answer.headers["accept-encoding"] == "identity"
    assert "accept" not in answer.headers


async def test_the_content_coding_identity_is_accepted(api: Api) -> None:
    batch = {"ref": new("batch"), "sku": new("sku"), "qty": 1}
    answer = await api.client.post("/v1/batches", json=batch, headers={"Content-Encoding": "Identity"})
    assert answer.status_code == 201


async def test_a_request_that_was_answered_before_its_body_is_not_answered_twice(client: httpx.AsyncClient) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with connected(client) as wire:
        await wire.send(request)
        assert (await wire.answer())[0] == 200
        await wire.send(b"no chunk\r\n")
        await wire.is_closed()
