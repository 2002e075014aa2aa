"""How much a request may hold, and how many of them a principal may send."""

from pathlib import Path
from typing import Any

import pytest

from app.bootstrap import bootstrap
from app.entrypoints.http.nesting import MAX_NESTING, is_nested_deeper_than
from app.settings import Settings
from tests.http.test_openapi_document import document, operations, resolved
from tests.support.api import Api, Json, assert_problem, in_process
from tests.support.keys import add_key

__all__ = ["document"]

JSON = {"content-type": "application/json"}
WRITES = [("POST", "/v1/batches"), ("POST", "/v1/allocations"), ("PATCH", "/v1/batches/batch-1")]


def nested(depth: int) -> list[str]:
    return [
        "[" * depth + "]" * depth,
        '{"a":' * depth + "1" + "}" * depth,
        '{"ref": ' + "[" * (depth - 1) + "1" + "]" * (depth - 1) + "}",
        '{"}]": ' + "[" * (depth - 1) + '"\\"]["' + "]" * (depth - 1) + "}",
    ]


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("depth", [MAX_NESTING + 1, 200, 5_000])
async def test_a_body_that_is_nested_too_deeply_is_refused(api: Api, method: str, path: str, depth: int) -> None:
    for body in nested(depth):
        answer = await api.client.request(method, path, content=body, headers=JSON)
        assert_problem(answer, 400, "too-deeply-nested", f"a body may have at most {MAX_NESTING} levels")


async def test_a_body_that_is_nested_less_is_judged_by_its_content(api: Api) -> None:
    for body in nested(MAX_NESTING):
        answer = await api.client.post("/v1/batches", content=body, headers=JSON)
        assert_problem(answer, 422, "invalid-request")


@pytest.mark.parametrize("body", ["[" * 1000, "]" * 1000, '"' + "[" * 1000, '[]["' + "[" * 500 + '"' + "[" * 500])
async def test_unclosed_brackets_are_malformed(api: Api, body: str) -> None:
    answer = await api.client.post("/v1/batches", content=body, headers=JSON)
    assert_problem(answer, 400, "malformed-body")


def test_each_byte_of_a_body_is_looked_at_once() -> None:
    """A pattern that starts again at each quotation mark would take minutes."""
    for body in (b"[" * 40 + b'\\"' * 500_000, b"[" * 40 + b'"\\' * 500_000, b"[" * 40 + b'"' + b"\\" * 999_999):
        assert not is_nested_deeper_than(MAX_NESTING, body)


def unbounded(document: Json, schema: Json, where: str) -> list[str]:
    """The places in a schema without a limit of size."""
    schema = resolved(document, schema)
    found = [
        name
        for kind in ("anyOf", "oneOf", "allOf")
        for each in schema.get(kind, [])
        for name in unbounded(document, each, where)
    ]
    match schema.get("type"):
        case "array":
            found += [] if "maxItems" in schema else [where]
            found += unbounded(document, schema["items"], f"{where}[]")
        case "string":
            found += [] if schema.keys() & {"maxLength", "enum", "const", "format"} else [where]
        case "integer" | "number":
            found += [] if schema.keys() & {"maximum", "exclusiveMaximum"} else [where]
        case "object":
            found += [] if schema.get("additionalProperties") is False else [where]
            for name, each in schema.get("properties", {}).items():
                found += unbounded(document, each, f"{where}.{name}")
        case _:
            pass
    return found


def test_everything_that_a_request_may_hold_has_a_bound(document: Json) -> None:
    found, looked_at = [], 0
    for method, path, operation in operations(document):
        schemas: list[tuple[str, Any]] = [(each["name"], each["schema"]) for each in operation.get("parameters", [])]
        contents = operation.get("requestBody", {}).get("content", {})
        schemas += [("body", content["schema"]) for content in contents.values()]
        for name, schema in schemas:
            if name == "Allocation-Routing-Key":
                continue  # The service does not read it; the length of all headers is bounded.
            looked_at += 1
            found += unbounded(document, schema, f"{method} {path}: {name}")
    assert found == []
    assert looked_at >= 8


async def test_a_principal_beyond_its_rate_gets_429_with_retry_after(shared_settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    anna, ben = ({"X-API-Key": add_key(file, name, ["read"])} for name in ("anna", "ben"))
    changed = {"auth": "api-keys", "api_keys_file": file, "http_rate_limit": 3, "http_rate_window": 3600}
    async with (
        bootstrap(shared_settings.model_copy(update=changed)) as service,
        in_process(service) as api,
    ):
        path = "/v1/batches/batch-1"
        for left in (2, 1, 0):
            answer = await api.client.get(path, headers=anna)
            assert_problem(answer, 404, "batch-not-found")
            assert answer.headers["ratelimit-policy"] == '"default";q=3;w=3600'
            assert answer.headers["ratelimit"].startswith(f'"default";r={left};t=')
        refused = await api.client.get(path, headers=anna)
        assert_problem(refused, 429, "too-many-requests")
        assert 1 <= int(refused.headers["retry-after"]) <= 1200
        assert refused.headers["ratelimit"].startswith('"default";r=0;t=')
        # A forbidden request counts as well, and gets 429 too.
        assert_problem(await api.client.post("/v1/batches", headers=anna), 429, "too-many-requests")
        assert_problem(await api.client.post("/v1/batches", headers=ben), 403, "forbidden")
        assert (await api.client.get(path, headers=ben)).headers["ratelimit"].startswith('"default";r=1;')
        # Unknown callers and open paths have no quota.
        unknown = await api.client.get(path)
        assert_problem(unknown, 401, "unauthenticated")
        assert "ratelimit" not in unknown.headers
        assert "ratelimit" not in (await api.client.get("/livez", headers=anna)).headers


async def test_without_authentication_all_callers_share_one_rate(shared_settings: Settings) -> None:
    changed = {"http_rate_limit": 1, "http_rate_window": 3600}
    async with bootstrap(shared_settings.model_copy(update=changed)) as service, in_process(service) as api:
        statuses = [(await api.client.get("/v1/batches/batch-1")).status_code for _ in range(2)]
    assert statuses == [404, 429]


async def test_without_a_rate_responses_have_no_ratelimit_header(api: Api) -> None:
    assert "ratelimit" not in (await api.client.get("/v1/batches/batch-1")).headers
