"""Every default that the OpenAPI document states may be sent explicitly: generated clients send them all."""

import asyncio
import functools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from app.bootstrap import bootstrap
from app.entrypoints.server import http_application
from app.settings import Settings
from tests.support.api import Api, Json, new


async def _document() -> Json:
    async with bootstrap(Settings(_env_file=None)) as service:
        return http_application(service).openapi()


DOCUMENT = asyncio.run(_document())
Case = tuple[str, str, list[str]]
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def resolved(schema: Json) -> Json:
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def body_schema(operation: Json) -> Json:
    schema: Json = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return resolved(schema)


def has_defaults(schema: Json) -> bool:
    schema = resolved(schema)
    parts = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return "default" in schema or any(has_defaults(part) for part in parts)


def with_defaults(schema: Json, value: Any) -> Any:  # noqa: ANN401 - any JSON
    """The value with each default that the schema states, wherever a property is missing."""
    schema = resolved(schema)
    if isinstance(value, list):
        return [with_defaults(schema["items"], item) for item in value]
    if not isinstance(value, dict):
        return value
    parts = {name: resolved(part) for name, part in schema["properties"].items()}
    defaults = {name: part["default"] for name, part in parts.items() if "default" in part}
    return defaults | {name: with_defaults(parts[name], inner) for name, inner in value.items()}


def minimal_bodies(operation: Json) -> list[list[str]]:
    """The property names of the smallest bodies: the required ones or, if there are none, each property alone."""
    schema = body_schema(operation)
    if "minProperties" not in schema:
        return [schema.get("required", [])]
    dependent = {*schema.get("dependentRequired", {}), *schema.get("dependentSchemas", {})}
    return [[name] for name in schema["properties"] if name not in dependent]


def cases() -> list[Any]:
    """Each operation that has defaults, with the properties of a smallest body."""
    return [pytest.param(case, id="-".join((*case[:2], *case[2]))) for case in _cases()]


def _cases() -> Iterator[Case]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            queries = [each for each in operation.get("parameters", []) if each["in"] == "query"]
            if has_defaults(body_schema(operation)) or any("default" in each["schema"] for each in queries):
                for names in minimal_bodies(operation):
                    yield method, path, names


def queries_of(operation: Json) -> tuple[Json, Json]:
    """The defaults of the query, and what else it needs."""
    parameters = [each for each in operation.get("parameters", []) if each["in"] == "query"]
    defaults = {each["name"]: each["schema"]["default"] for each in parameters if "default" in each["schema"]}
    return defaults, {each["name"]: 1 for each in parameters if each["required"]}


async def shop(api: Api) -> Json:
    """The names of a product with a batch, and of what the requests may make."""
    names = {
        "ref": new("batch"),
        "sku": new("sku"),
        "order_id": new("order"),
        "new_ref": new("batch"),
        "cart_id": new("cart"),
    }
    await api.client.put(f"/v1/carts/{names['cart_id']}/items/{names['sku']}", json={"qty": 2, "unit_price": 1})
    await api.record(names["sku"], 10, ref=names["ref"], eta="2030-01-01")
    return names


async def answer(api: Api, case: Case, names: Json, *, explicit: bool) -> tuple[int, str]:
    """The response to the smallest request, with the names of its own product replaced."""
    method, path, properties = case
    operation = DOCUMENT["paths"][path][method]
    line = {"order_id": names["order_id"], "sku": names["sku"], "qty": 2}
    batch = {"ref": names["new_ref"], "sku": names["sku"], "qty": 2}
    schema = body_schema(operation)
    values: Json = {
        **line,
        "ref": names["new_ref"],
        "eta": "2030-01-02",
        "location": "north",
        "best_before": "2030-02-01",
        "blocked": True,
        "below": 5,
        "lines": [{"sku": names["sku"], "qty": 2}],
        "items": [line if "Allocation" in schema.get("title", "") else batch],
    }
    if path.startswith("/v1/allocations/{order_id}/{sku}"):
        await api.client.post("/v1/allocations", json=line)
    body = {name: values[name] for name in properties} if schema else None
    defaults, query = queries_of(operation)
    if explicit:
        query |= {name: str(value).lower() for name, value in defaults.items()}
        body = with_defaults(schema, body)
    response = await api.client.request(method.upper(), path.format(**names), params=query, json=body)
    return response.status_code, functools.reduce(
        lambda text, name: text.replace(name, ""), names.values(), response.text
    )


@pytest.mark.parametrize("case", cases())
async def test_a_default_may_be_sent_explicitly(api: Api, case: Case) -> None:
    first = await shop(api)
    second = first if case[0] == "get" else await shop(api)
    without = await answer(api, case, first, explicit=False)
    explicitly = await answer(api, case, second, explicit=True)
    assert without[0] < 300, without
    # An order without an id gets a new one for each request.
    assert (explicitly[0], UUID.sub("", explicitly[1])) == (without[0], UUID.sub("", without[1]))


def test_the_walk_finds_what_is_known_to_have_defaults() -> None:
    found = {case[:2] for case in _cases()}
    assert {
        ("patch", "/v1/batches/{ref}"),
        ("post", "/v1/allocations"),
        ("post", "/v1/allocations/bulk"),
        ("post", "/v1/orders"),
        ("post", "/v1/carts/{cart_id}/checkout"),
        ("get", "/v1/products"),
        ("get", "/v1/products/{sku}/history"),
    } <= found


@pytest.mark.parametrize("body", [{"reallocate": False}, {"reallocate": True}, {"qty": 1, "reallocate": True}])
async def test_a_default_alone_changes_nothing_and_another_value_needs_its_eta(api: Api, body: Json) -> None:
    ref = await api.record(new("sku"), 5)
    assert (await api.client.patch(f"/v1/batches/{ref}", json=body)).status_code == 422
