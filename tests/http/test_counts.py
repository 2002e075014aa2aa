"""Counts over HTTP: `on_hand_qty` of a batch, and the pieces on hand of a product."""

import asyncio
import uuid

import httpx
import pytest

from tests.support.api import Api, Json, assert_invalid, assert_problem, new

LARGEST = 2_147_483_647


async def count(api: Api, sku: str, on_hand_qty: int, **more: object) -> Json:
    """PUT the pieces on hand. Returns the answer."""
    answer = await api.client.put(f"/v1/products/{sku}/on-hand", json={"on_hand_qty": on_hand_qty, **more})
    assert answer.status_code == 200, answer.text
    counted: Json = answer.json()
    return counted


async def ship(api: Api, sku: str, qty: int) -> str:
    order = await api.order(sku, qty)
    assert (await api.client.post(f"/v1/allocations/{order}/{sku}/ship")).status_code == 200
    return order


async def events(api: Api, sku: str) -> list[str]:
    """The types of the events of the product, oldest first."""
    history = (await api.client.get(f"/v1/products/{sku}/history", params={"limit": 100})).json()
    return [entry["event"] for entry in reversed(history["items"])]


# --- a batch ---------------------------------------------------------------------------------------------------------


async def test_a_count_of_a_batch_adds_what_was_shipped_and_can_be_repeated(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 100)
    await ship(api, sku, 30)
    body = {"on_hand_qty": 65, "shipped_qty": 30, "reason": "recount", "reference": "list 3", "expected_qty": 100}

    answers = [await api.change(ref, **body) for _ in range(2)]

    assert [(answer["qty"], answer["shipped_qty"], answer["available_qty"]) for answer in answers] == [(95, 30, 65)] * 2
    assert (await events(api, sku)).count("batch_quantity_changed.v1") == 1


async def test_a_count_is_compared_with_the_shipments_that_the_service_knows(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 100)
    await ship(api, sku, 30)

    assert (await api.change(ref, on_hand_qty=65))["qty"] == 95
    assert (await api.change(ref, on_hand_qty=60, shipped_qty=33))["qty"] == 93
    refused = await api.client.patch(f"/v1/batches/{ref}", json={"on_hand_qty": 1, "shipped_qty": 28})
    assert_problem(refused, 409, "below-shipped")
    refused = await api.client.patch(f"/v1/batches/{ref}", json={"on_hand_qty": LARGEST})
    assert_problem(refused, 422, "quantity-too-large")
    refused = await api.client.patch(f"/v1/batches/{ref}", json={"on_hand_qty": 1, "shipped_qty": LARGEST})
    assert_problem(refused, 422, "quantity-too-large")
    assert (await api.batch(ref))["qty"] == 93


async def test_a_count_and_an_eta_are_one_change(api: Api) -> None:
    ref = await api.record(new("sku"), 10, eta="2030-01-01")

    changed = await api.change(ref, on_hand_qty=8, eta=None)

    assert (changed["qty"], changed["eta"]) == (8, None)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"qty": 1, "on_hand_qty": 1}, ["body"]),
        ({"qty": 1, "shipped_qty": 1}, ["body"]),
        ({"eta": None, "shipped_qty": 1}, ["body"]),
        ({"shipped_qty": 1}, ["body"]),
        ({"on_hand_qty": -1}, ["body", "on_hand_qty"]),
        ({"on_hand_qty": "1"}, ["body", "on_hand_qty"]),
        ({"on_hand_qty": None}, ["body", "on_hand_qty"]),
        ({"on_hand_qty": 1, "shipped_qty": None}, ["body", "shipped_qty"]),
        ({"on_hand_qty": 1, "shipped_qty": LARGEST + 1}, ["body", "shipped_qty"]),
        ({"on_hand_qty": 1, "reallocate": True}, ["body"]),
    ],
)
async def test_invalid_counts_of_a_batch_are_refused(api: Api, body: Json, where: list[str | int]) -> None:
    assert_invalid(await api.client.patch("/v1/batches/batch-1", json=body), where)


# --- a product -------------------------------------------------------------------------------------------------------


async def test_the_first_count_creates_the_product(api: Api) -> None:
    sku = new("sku")

    answers = [await count(api, sku, 12, reason="recount") for _ in range(2)]

    stock = {"sku": sku, "reorder_point": None, "available_qty": 12, "backordered_qty": 0, "incoming_qty": 0}
    assert answers == [{**stock, "held_qty": 0, "on_hand_qty": 12, "moved": []}] * 2
    product = await api.product(sku)
    assert [(batch["qty"], batch["eta"]) for batch in product["batches"]] == [(12, None)]
    assert await events(api, sku) == ["batch_created.v1"]
    assert (await api.batch(product["batches"][0]["ref"]))["sku"] == sku


async def test_a_first_count_of_nothing_is_not_found(api: Api) -> None:
    path = f"/v1/products/{new('sku')}"

    assert_problem(await api.client.put(f"{path}/on-hand", json={"on_hand_qty": 0}), 404, "product-not-found")
    assert_problem(await api.client.get(path), 404, "product-not-found")


async def test_a_count_of_a_product_moves_lines_and_serves_the_queue(api: Api) -> None:
    sku = new("sku")
    first, last = await api.record(sku, 10), await api.record(sku, 10)
    incoming = await api.record(sku, 6, eta="2030-01-01")
    orders = [await api.order(sku, qty) for qty in (10, 4, 6)]

    counted = await count(api, sku, 14, reason="lost")

    assert [(line["order_id"], line["to_batch_ref"]) for line in counted["moved"]] == [(orders[2], incoming)]
    assert (counted["on_hand_qty"], counted["available_qty"], counted["incoming_qty"]) == (14, 0, 0)
    assert [(await api.batch(ref))["qty"] for ref in (first, last)] == [10, 4]
    waiting = await api.order(sku, 3)
    assert (await count(api, sku, 17))["backordered_qty"] == 0
    assert await api.batch_of(waiting) == last


async def test_batches_without_available_stock_are_counted_too(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    order = await api.order(sku, 10)

    assert await count(api, sku, 10) == await count(api, sku, 10, expected_on_hand_qty=10)
    counted = await count(api, sku, 9)

    assert [line["order_id"] for line in counted["moved"]] == [order]
    assert (await api.batch(ref))["available_qty"] == 9


async def test_an_expected_quantity_is_compared(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 10)
    await ship(api, sku, 3)
    path = f"/v1/products/{sku}/on-hand"

    assert (await api.product(sku))["on_hand_qty"] == 7
    refused = await api.client.put(path, json={"on_hand_qty": 8, "expected_on_hand_qty": 10})
    assert assert_problem(refused, 409, "quantity-changed")["present_qty"] == 7
    for _ in range(2):
        assert (await count(api, sku, 8, expected_on_hand_qty=7))["on_hand_qty"] == 8


async def test_a_count_has_the_tag_of_the_product_and_compares_it(api: Api) -> None:
    sku = new("sku")
    path = f"/v1/products/{sku}/on-hand"

    async def put(qty: int, tag: str) -> httpx.Response:
        return await api.client.put(path, json={"on_hand_qty": qty}, headers={"If-Match": tag})

    assert_problem(await put(5, "*"), 412, "precondition-failed")
    made = await api.client.put(path, json={"on_hand_qty": 5})
    tag = made.headers["etag"]
    assert tag == (await api.client.get(f"/v1/products/{sku}")).headers["etag"]
    done = await put(6, tag)
    assert (done.status_code, done.json()["on_hand_qty"]) == (200, 6)
    assert_problem(await put(7, tag), 412, "precondition-failed")
    assert (await put(7, done.headers["etag"])).status_code == 200


async def test_a_count_with_a_key_takes_effect_once(api: Api) -> None:
    sku, headers = new("sku"), {"Idempotency-Key": uuid.uuid4().hex}
    path = f"/v1/products/{sku}/on-hand"
    first = await api.client.put(path, json={"on_hand_qty": 5}, headers=headers)
    await ship(api, sku, 2)

    again = await api.client.put(path, json={"on_hand_qty": 5}, headers=headers)

    assert (again.status_code, again.content) == (200, first.content)
    assert (await count(api, sku, 3, expected_on_hand_qty=3))["on_hand_qty"] == 3


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["body", "on_hand_qty"]),
        ({"on_hand_qty": -1}, ["body", "on_hand_qty"]),
        ({"on_hand_qty": None}, ["body", "on_hand_qty"]),
        ({"on_hand_qty": "5"}, ["body", "on_hand_qty"]),
        ({"on_hand_qty": LARGEST + 1}, ["body", "on_hand_qty"]),
        ({"on_hand_qty": 1, "expected_on_hand_qty": None}, ["body", "expected_on_hand_qty"]),
        ({"on_hand_qty": 1, "reason": "stolen"}, ["body", "reason"]),
        ({"on_hand_qty": 1, "reference": "a\nb"}, ["body", "reference"]),
        ({"on_hand_qty": 1, "shipped_qty": 1}, ["body", "shipped_qty"]),
        ({"on_hand_qty": 1, "sku": "other"}, ["body", "sku"]),
        ({"on_hand_qty": 1, "if_match": ["*"]}, ["body", "if_match"]),
    ],
)
async def test_invalid_counts_of_a_product_are_refused(api: Api, body: Json, where: list[str | int]) -> None:
    assert_invalid(await api.client.put("/v1/products/sku-1/on-hand", json=body), where)


async def test_the_same_first_count_at_once_makes_one_batch(api: Api, other_api: Api) -> None:
    sku = new("sku")

    answers = await asyncio.gather(*(count((api, other_api)[number % 2], sku, 7) for number in range(20)))

    assert [answer["on_hand_qty"] for answer in answers] == [7] * 20
    assert [batch["qty"] for batch in (await api.product(sku))["batches"]] == [7]
    assert await events(api, sku) == ["batch_created.v1"]


async def test_pieces_found_in_a_location_go_to_its_batch_recorded_last_also_if_that_is_empty(api: Api) -> None:
    sku = new("sku")
    first, last = await api.record(sku, 5), await api.record(sku, 5)
    elsewhere = await api.record(sku, 5, location="north")
    await count(api, sku, 3, location="main")

    counted = await count(api, sku, 9, location="main")

    assert counted["on_hand_qty"] == 9
    product = (await api.client.get(f"/v1/products/{sku}")).json()
    assert {batch["ref"]: batch["qty"] for batch in product["batches"]} == {first: 3, last: 6, elsewhere: 5}
