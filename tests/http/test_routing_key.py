"""The header Allocation-Routing-Key is for proxies: it is documented for every write, and has no effect."""

import pytest
from httpx import Headers

from tests.http.contract import STATUSES
from tests.support.api import Api, new

WRITING = {"post", "put", "patch", "delete"}
HEADER = "Allocation-Routing-Key"


async def test_the_document_names_the_header_for_writing_calls_only(api: Api) -> None:
    document = (await api.client.get("/openapi.json")).json()

    named = {
        (method, path): [each for each in operation.get("parameters", []) if each["name"] == HEADER]
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }

    assert {call for call, found in named.items() if found} == {call for call in STATUSES if call[0] in WRITING}
    assert {(each["in"], each["required"]) for found in named.values() for each in found} == {("header", False)}


@pytest.mark.parametrize("value", ["RED-CHAIR", "", "any text: äöü", "x" * 2000])
async def test_a_write_has_the_same_response_with_any_value(api: Api, value: str) -> None:
    sku, order = new("sku"), new("order")
    await api.record(sku, 10)
    body = {"order_id": order, "sku": sku, "qty": 4}

    without = await api.client.post("/v1/allocations", json=body)
    given = await api.client.post(
        "/v1/allocations", json=body, headers=Headers([(HEADER.encode(), value.encode())] * 2)
    )

    # A repeated placement returns the line as it is.
    assert (without.status_code, given.status_code) == (201, 200)
    assert given.json() == without.json()


async def test_a_repeated_request_may_have_another_value(api: Api) -> None:
    sku, order = new("sku"), new("order")
    await api.record(sku, 10)
    key = new("key")

    first, again = [
        await api.client.post(
            "/v1/orders",
            json={"order_id": order, "lines": [{"sku": sku, "qty": 4}]},
            headers={"Idempotency-Key": key, HEADER: value},
        )
        for value in (sku, order)
    ]

    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
