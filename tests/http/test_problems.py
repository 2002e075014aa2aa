"""Problems outside the domain: paths, methods, media types, sizes, internal errors."""

from collections.abc import AsyncIterator, Sequence

import pytest
from httpx import Response

from app.bootstrap import bootstrap
from app.read_model.queries import Queries
from app.settings import Settings
from tests.support.api import Api, assert_problem, in_process, new

JSON = {"content-type": "application/json"}
WRITES = [("POST", "/v1/batches"), ("POST", "/v1/allocations"), ("PATCH", "/v1/batches/batch-1")]
WRITES += [("PUT", "/v1/products/sku-1/reorder-point"), ("PUT", "/v1/products/sku-1/on-hand")]
NOT_JSON = [
    "",
    " ",
    "{",
    '{"ref": "a",}',
    "{'ref': 'a'}",
    "ref=a",
    "{} {}",
    '{"qty": 01}',
    "undefined",
    b"\xff\xfe",
    b'{"ref": "\xff"}',
    "[" * 100_0,
    '\ufeff{"qty": 1}',
    '{"ref": "\\ud800"}',
    '{"eta": NaN}',
    '{"qty": 1, "qty": 1}',
    '{"qty": 1, "\\u0071ty": 2}',
    '{"more": {"name": 1, "name": null}}',
]


@pytest.mark.parametrize("body", NOT_JSON, ids=range(len(NOT_JSON)))
@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_a_body_that_is_not_json_is_malformed(api: Api, method: str, path: str, body: str | bytes) -> None:
    assert_problem(await api.client.request(method, path, content=body, headers=JSON), 400, "malformed-body")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
async def test_numbers_that_are_not_json_are_malformed(api: Api, number: str) -> None:
    body = f'{{"ref": "a", "sku": "b", "qty": {number}}}'
    assert_problem(await api.client.post("/v1/batches", content=body, headers=JSON), 400, "malformed-body")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/batches", '{"ref": "REF", "sku": "SKU", "qty": 1, "qty": 2}'),
        ("/v1/batches", '{"ref": "REF", "sku": "other", "qty": 1, "\\u0073ku": "SKU"}'),
        ("/v1/orders", '{"lines": [{"sku": "SKU", "qty": 1, "qty": 1}]}'),
        ("/v1/batches/bulk", '{"items": [{"ref": "REF", "sku": "SKU", "qty": 1}], "items": []}'),
        ("/v1/batches/bulk", '{"items": [{"ref": "REF", "sku": "SKU", "qty": 1}, {"qty": 1, "qty": 1}]}'),
        ("/v1/batches/bulk", '{"items": [{"ref": "REF", "sku": "SKU", "qty": 1}, {"qty": NaN}]}'),
        ("/v1/allocations/bulk", '{"items": [{"order_id": "a", "sku": "SKU", "qty": 1}, {"sku": Infinity}]}'),
    ],
)
async def test_bodies_that_parsers_read_differently_are_malformed(api: Api, path: str, body: str) -> None:
    ref, sku = new("batch"), new("sku")
    sent = body.replace("REF", ref).replace("SKU", sku)
    problem = assert_problem(await api.client.post(path, content=sent, headers=JSON), 400, "malformed-body")
    assert problem["detail"].startswith("the body is not valid JSON: ")
    assert_problem(await api.client.get(f"/v1/batches/{ref}"), 404, "batch-not-found")


async def test_a_repeated_name_is_not_repeated_in_the_answer(api: Api) -> None:
    name = "n" * 10_000
    answer = await api.client.post("/v1/batches", content=f'{{"{name}": 1, "{name}": 2}}', headers=JSON)
    assert_problem(answer, 400, "malformed-body")
    assert len(answer.content) < 500


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v2/batches",
        "/batches",
        "/v1/batches/",
        "/v1/batches/a/b",
        "/v1/allocations/a/b/c",
        "/v1/products/",
        "/v1/backorders/",
        "/v1/allocations/",
        "/favicon.ico",
        "/docs/",
        "/docs/static/nothing.js",
        "/redoc",
        "/livez/",
    ],
)
async def test_an_unknown_path_is_not_found(api: Api, path: str) -> None:
    assert_problem(await api.client.get(path), 404, "not-found")


@pytest.mark.parametrize("path", ["a%20b", "a%0A", "%C3%A4", "a%3Fb", "a%23b"])
async def test_the_instance_is_the_requested_path(api: Api, path: str) -> None:
    answer = await api.client.get(f"/v1/batches/{path}?more=1")
    assert answer.json()["instance"] == f"/v1/batches/{path}"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_an_unknown_path_is_not_found_with_any_method(api: Api, method: str) -> None:
    assert_problem(await api.client.request(method, f"/v1/{new('path')}"), 404, "not-found")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/batches", {"GET", "POST"}),
        ("/v1/batches/batch-1", {"GET", "PATCH"}),
        ("/v1/allocations", {"POST"}),
        ("/v1/allocations/order-1", {"GET"}),
        ("/v1/allocations/order-1/sku-1", {"DELETE", "PATCH"}),
        ("/v1/products", {"GET"}),
        ("/v1/products/sku-1", {"GET"}),
        ("/v1/products/sku-1/reorder-point", {"PUT"}),
        ("/v1/products/sku-1/history", {"GET"}),
        ("/v1/backorders", {"GET"}),
        ("/livez", {"GET"}),
        ("/readyz", {"GET"}),
        ("/metrics", {"GET"}),
        ("/docs", {"GET"}),
        ("/openapi.json", {"GET"}),
        ("/docs/static/swagger-ui.css", {"GET"}),
    ],
)
async def test_another_method_is_refused_and_the_allowed_ones_are_named(api: Api, path: str, allowed: set[str]) -> None:
    # HEAD may be listed beside GET.
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed:
        answer = await api.client.request(method, path)
        assert_problem(answer, 405, "method-not-allowed")
        named = {name.strip() for name in answer.headers["allow"].split(",")}
        assert named - {"HEAD"} == allowed, method


async def test_an_unknown_method_is_refused(api: Api) -> None:
    answer = await api.client.request("BREW", "/v1/batches/batch-1")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, PATCH"


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "", "json"]
)
@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_a_body_of_another_media_type_is_refused(api: Api, method: str, path: str, media_type: str) -> None:
    answer = await api.client.request(method, path, content=b"{}", headers={"content-type": media_type})
    assert_problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize("media_type", ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8"])
async def test_json_is_taken_however_its_media_type_is_written(api: Api, media_type: str) -> None:
    body = f'{{"ref": "{new("batch")}", "sku": "{new("sku")}", "qty": 1}}'
    answer = await api.client.post("/v1/batches", content=body, headers={"content-type": media_type})
    assert answer.status_code == 201


async def in_pieces(total: int) -> AsyncIterator[bytes]:
    yield b'{"ref": "'
    for _ in range(total // 1024):
        yield b"a" * 1024
    yield b'"}'


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_a_body_that_is_too_large_is_refused(api: Api, method: str, path: str, chunked: bool) -> None:
    total = 1_100_000
    content = in_pieces(total) if chunked else b'{"ref": "' + b"a" * total + b'"}'
    assert_problem(await api.client.request(method, path, content=content, headers=JSON), 413, "payload-too-large")


async def test_a_large_body_within_bounds_is_judged_by_its_content(api: Api) -> None:
    body = b'{"ref": "a", "sku": "b", "qty": 1' + b" " * 60_000 + b"}"
    answer = await api.client.post("/v1/batches", content=body, headers=JSON)
    assert answer.status_code in {200, 201, 409}


class BrokenQueries(Queries):
    """Raises an unexpected error, as a bug does."""

    def __init__(self) -> None:
        pass

    async def batch(self, ref: str) -> None:  # type: ignore[override]
        message = f"password=hunter2 while reading {ref}"
        raise ZeroDivisionError(message)


async def asked_of_a_broken_service(settings: Settings, paths: Sequence[str]) -> list[Response]:
    async with bootstrap(settings, queries=BrokenQueries()) as service, in_process(service) as api:
        return [await api.client.get(path) for path in paths]


async def test_a_bug_gives_an_internal_error_without_details(shared_settings: Settings) -> None:
    (answer,) = await asked_of_a_broken_service(shared_settings, ["/v1/batches/batch-1"])
    assert_problem(answer, 500, "internal-error")
    for secret in ("hunter2", "ZeroDivision", "Traceback", "queries"):
        assert secret not in answer.text


async def test_after_an_internal_error_the_next_request_is_served(shared_settings: Settings) -> None:
    answers = await asked_of_a_broken_service(shared_settings, ["/v1/batches/batch-1", "/livez"])
    assert [answer.status_code for answer in answers] == [500, 200]


async def test_a_request_id_is_returned_or_generated(api: Api) -> None:
    mine = new("request")
    assert (await api.client.get("/livez", headers={"x-request-id": mine})).headers["x-request-id"] == mine
    ids = {(await api.client.get("/nowhere")).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
