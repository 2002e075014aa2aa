"""Requests with an Idempotency-Key: the same request again gets the same response, and has no effect."""

import asyncio
import re
import uuid
from typing import Any

import pytest
from sqlalchemy import text

from app.adapters.postgresql.idempotency import prune_answers
from app.bootstrap import Service, bootstrap
from app.entrypoints.http.app import ROUTERS
from app.settings import Settings
from tests.support.api import Api, Json, assert_invalid, assert_problem, in_process, new
from tests.support.database import raw_connection
from tests.support.waiting import eventually

Call = tuple[str, str, Json | None]
WRITING = {"POST", "PUT", "PATCH", "DELETE"}


def keyed(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or uuid.uuid4().hex}


async def calls(api: Api) -> dict[str, Call]:
    """One call of each writing route, by its path in the document, that takes effect."""
    sku, ref, line, other, order, more = new("sku"), new("ref"), new("order"), new("order"), new("order"), new("order")
    cart = new("cart")
    await api.record(sku, 100, ref=ref)
    for order_id in (line, other, order, more):
        await api.order(sku, 1, order_id=order_id)
    return {
        "POST /v1/batches": ("POST", "/v1/batches", {"ref": new("ref"), "sku": sku, "qty": 1}),
        "PATCH /v1/batches/{ref}": ("PATCH", f"/v1/batches/{ref}", {"qty": 90}),
        "POST /v1/batches/{ref}/transfer": (
            "POST",
            f"/v1/batches/{ref}/transfer",
            {"ref": new("ref"), "qty": 1, "location": "main"},
        ),
        "POST /v1/products/{sku}/redistribute": ("POST", f"/v1/products/{sku}/redistribute", {"below": 5}),
        "POST /v1/allocations": ("POST", "/v1/allocations", {"order_id": new("order"), "sku": sku, "qty": 1}),
        "PATCH /v1/allocations/{order_id}/{sku}": ("PATCH", f"/v1/allocations/{more}/{sku}", {"qty": 2}),
        "DELETE /v1/allocations/{order_id}/{sku}": ("DELETE", f"/v1/allocations/{line}/{sku}", None),
        "POST /v1/allocations/{order_id}/{sku}/ship": ("POST", f"/v1/allocations/{other}/{sku}/ship", None),
        "POST /v1/allocations/bulk": (
            "POST",
            "/v1/allocations/bulk",
            {"items": [{"order_id": new("order"), "sku": sku, "qty": 1}, {"sku": sku}]},
        ),
        "POST /v1/batches/bulk": ("POST", "/v1/batches/bulk", {"items": [{"ref": new("ref"), "sku": sku, "qty": 1}]}),
        "PUT /v1/products/{sku}/reorder-point": ("PUT", f"/v1/products/{sku}/reorder-point", {"qty": 5}),
        "PUT /v1/products/{sku}/on-hand": ("PUT", f"/v1/products/{sku}/on-hand", {"on_hand_qty": 25}),
        "POST /v1/orders": ("POST", "/v1/orders", {"lines": [{"sku": sku, "qty": 1}]}),
        "PUT /v1/orders/{order_id}/hold": (
            "PUT",
            f"/v1/orders/{new('order')}/hold",
            {"hold_for": 60, "lines": [{"sku": sku, "qty": 1}]},
        ),
        "DELETE /v1/orders/{order_id}": ("DELETE", f"/v1/orders/{order}", None),
        "PUT /v1/carts/{cart_id}/items/{sku}": ("PUT", f"/v1/carts/{cart}/items/{sku}", {"qty": 2, "unit_price": 5}),
        "POST /v1/carts/{cart_id}/items": (
            "POST",
            f"/v1/carts/{cart}/items",
            {"sku": sku, "qty": 2, "unit_price": 5},
        ),
        "DELETE /v1/carts/{cart_id}/items/{sku}": ("DELETE", f"/v1/carts/{cart}/items/{sku}?qty=1", None),
        "POST /v1/carts/{cart_id}/checkout": ("POST", f"/v1/carts/{cart}/checkout", {}),
    }


def writing_routes() -> set[str]:
    """Every route of the API that changes something, also those added later."""
    routes: list[Any] = [route for router in ROUTERS for route in router.routes if router.prefix.startswith("/v1")]
    return {f"{method} {route.path}" for route in routes for method in route.methods & WRITING}


async def test_every_writing_call_answers_the_same_again(api: Api) -> None:
    made = await calls(api)
    assert set(made) == writing_routes()

    for method, path, body in made.values():
        headers = keyed()
        first = await api.client.request(method, path, json=body, headers=headers)
        again = await api.client.request(method, path, json=body, headers=headers)

        assert first.status_code < 300, first.text
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers.get("location") == first.headers.get("location")
        assert again.headers.get("content-type") == first.headers.get("content-type")
        assert again.headers["x-request-id"] != first.headers["x-request-id"]


async def test_the_document_names_the_key_for_every_writing_call(api: Api) -> None:
    document = (await api.client.get("/openapi.json")).json()

    for route in writing_routes():
        method, path = route.split()
        operation = document["paths"][path][method.lower()]
        assert "Idempotency-Key" in {parameter["name"] for parameter in operation["parameters"]}, route
        for status, code in (("422", "idempotency-key-reused"), ("409", "idempotency-key-in-use")):
            assert f"`{code}`" in operation["responses"][status]["description"], route


async def test_an_order_without_an_id_is_placed_once(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 10)
    headers, body = keyed(), {"lines": [{"sku": sku, "qty": 4}]}

    answers = [await api.client.post("/v1/orders", json=body, headers=headers) for _ in range(3)]

    assert len({answer.json()["order_id"] for answer in answers}) == 1
    assert {answer.status_code for answer in answers} == {201}
    assert (await api.product(sku))["available_qty"] == 6


async def test_a_refusal_is_stored_as_well(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 1)
    headers, body = keyed(), {"order_id": new("order"), "sku": sku, "qty": 2, "if_unavailable": "reject"}

    first = await api.client.post("/v1/allocations", json=body, headers=headers)
    await api.record(sku, 5)
    again = await api.client.post("/v1/allocations", json=body, headers=headers)

    assert_problem(first, 409, "out-of-stock")
    assert (again.status_code, again.content) == (409, first.content)
    assert (await api.client.post("/v1/allocations", json=body)).status_code == 201


async def test_another_request_with_the_key_is_refused(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 10)
    headers, body = keyed(), {"order_id": new("order"), "sku": sku, "qty": 2}
    assert (await api.client.post("/v1/allocations", json=body, headers=headers)).status_code == 201

    other_body = await api.client.post("/v1/allocations", json={**body, "order_id": new("order")}, headers=headers)
    other_path = await api.client.delete(f"/v1/allocations/{body['order_id']}/{sku}", headers=headers)

    assert_problem(other_body, 422, "idempotency-key-reused")
    assert_problem(other_path, 422, "idempotency-key-reused")
    assert (await api.product(sku))["allocated_qty"] == 2


async def test_the_key_may_be_quoted_as_the_draft_has_it(api: Api) -> None:
    sku = new("sku")
    body = {"ref": new("ref"), "sku": sku, "qty": 1}
    key = uuid.uuid4().hex

    first = await api.client.post("/v1/batches", json=body, headers=keyed(f'"{key}"'))

    assert (await api.client.post("/v1/batches", json=body, headers=keyed(key))).status_code == first.status_code == 201


@pytest.mark.parametrize("key", ['""', "x" * 256, "a\tb", "a b", '"a'])
async def test_an_invalid_key_is_refused_and_nothing_is_done(api: Api, key: str) -> None:
    body = {"ref": new("ref"), "sku": new("sku"), "qty": 1}

    assert_invalid(await api.client.post("/v1/batches", json=body, headers=keyed(key)), ["header", "Idempotency-Key"])

    assert (await api.client.get(f"/v1/batches/{body['ref']}")).status_code == 404


UNUSED = [
    ("/v1/allocations?dry_run=true", {"order_id": "o", "sku": "s", "qty": 1}),
    ("/v1/orders?dry_run=true", {"lines": [{"sku": "s", "qty": 1}]}),
    ("/v1/allocations/bulk", {"items": [{"qty": 0}]}),
    ("/v1/batches/bulk", {"items": [{"qty": 0}]}),
    ("/v1/batches", {"qty": 0}),
]


@pytest.mark.parametrize(("path", "body"), UNUSED)
async def test_a_malformed_key_is_refused_even_if_it_would_not_be_used(api: Api, path: str, body: Json) -> None:
    answer = await api.client.post(path, json=body, headers=keyed("a b"))
    assert_invalid(answer, ["header", "Idempotency-Key"])


async def test_a_malformed_key_is_refused_by_every_writing_call(api: Api) -> None:
    for method, path, body in (await calls(api)).values():
        answer = await api.client.request(method, path, json=body, headers=keyed("a b"))
        assert_invalid(answer, ["header", "Idempotency-Key"])


@pytest.mark.parametrize("second", ["key-1", "key-2"])
async def test_a_request_with_two_keys_is_refused_and_nothing_is_done(api: Api, second: str) -> None:
    body = {"ref": new("ref"), "sku": new("sku"), "qty": 1}
    headers = [("Idempotency-Key", "key-1"), ("Idempotency-Key", second)]

    assert_problem(await api.client.post("/v1/batches", json=body, headers=headers), 400, "malformed-request")

    assert (await api.client.get(f"/v1/batches/{body['ref']}")).status_code == 404


async def test_fifty_at_once_have_one_effect(api: Api, other_api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 1000)
    headers, body = keyed(), {"lines": [{"sku": sku, "qty": 1}]}

    answers = await asyncio.gather(
        *((api, other_api)[number % 2].client.post("/v1/orders", json=body, headers=headers) for number in range(50))
    )

    placed = [answer for answer in answers if answer.status_code == 201]
    assert placed
    assert len({answer.content for answer in placed}) == 1
    for answer in answers:
        if answer.status_code != 201:
            assert_problem(answer, 409, "idempotency-key-in-use")
            assert answer.headers["retry-after"] == "1"
    assert (await api.product(sku))["allocated_qty"] == 1


async def test_a_repetition_does_not_wait_for_a_running_request(
    api: Api, other_api: Api, shared_settings: Settings
) -> None:
    sku = new("sku")
    await api.record(sku, 10)
    headers, body = keyed(), {"order_id": new("order"), "sku": sku, "qty": 1}
    url = shared_settings.database_url.get_secret_value()
    async with raw_connection(url, cell_of=sku) as connection, connection.transaction():
        await connection.execute("SELECT FROM products WHERE sku = $1 FOR UPDATE", sku)
        first = asyncio.create_task(api.client.post("/v1/allocations", json=body, headers=headers))

        async def waits() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await eventually(waits)
        second = await other_api.client.post("/v1/allocations", json=body, headers=headers)
        assert_problem(second, 409, "idempotency-key-in-use")
        assert re.fullmatch(r"\d+", second.headers["retry-after"])

    assert (await first).status_code == 201
    assert (await other_api.client.post("/v1/allocations", json=body, headers=headers)).content == (await first).content


async def prune(service: Service) -> None:
    """Delete the stored responses that are older than a day."""
    for engine in service.cells.engines:
        await prune_answers(engine, 24)


async def test_a_stored_response_expires(shared_settings: Settings) -> None:
    async with bootstrap(shared_settings) as service, in_process(service) as api:
        headers, body = keyed(), {"ref": new("ref"), "sku": new("sku"), "qty": 1}
        assert (await api.client.post("/v1/batches", json=body, headers=headers)).status_code == 201
        kept = text("SELECT count(*) FROM idempotency_keys WHERE key = :key")
        key = {"key": headers["Idempotency-Key"]}

        await prune(service)
        assert (await api.client.post("/v1/batches", json=body, headers=headers)).status_code == 201
        async with service.engine.begin() as connection:
            late = "UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE key = :key"
            await connection.execute(text(late), key)
        await prune(service)

        async with service.engine.connect() as connection:
            assert (await connection.execute(kept, key)).scalar_one() == 0
        assert (await api.client.post("/v1/batches", json=body, headers=headers)).status_code == 200
