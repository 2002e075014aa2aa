"""Checking a cart out, as a caller sees it: one order for a cart, whatever is repeated."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import httpx

from tests.http.test_carts import cart_of, put
from tests.support.api import Api, Json, assert_invalid, assert_problem, new
from tests.support.waiting import eventually


async def check_out(api: Api, cart: str, *, key: str | None = None, **body: object) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await api.client.post(f"/v1/carts/{cart}/checkout", json=body, headers=headers)


async def filled(api: Api, *quantities: int, stock: int = 10) -> tuple[str, list[str]]:
    """A cart with these quantities of new SKUs, each with stock in the warehouse. Returns the SKUs in order."""
    cart = new("cart")
    skus = sorted(new("sku") for _ in quantities)
    for sku, qty in zip(skus, quantities, strict=True):
        await api.record(sku, stock)
        assert (await put(api, cart, sku, qty, 100)).status_code == 201
    return cart, skus


def lines_of(order: Json) -> list[tuple[str, int, str]]:
    return [(line["sku"], line["qty"], line["status"]) for line in order["lines"]]


async def test_a_checkout_places_the_order_and_closes_the_cart(api: Api) -> None:
    cart, (chair, table) = await filled(api, 2, 11)

    answer = await check_out(api, cart)

    assert answer.status_code == 201
    order = answer.json()
    assert uuid.UUID(order["order_id"]).version == 7
    assert answer.headers["location"] == f"/v1/orders/{order['order_id']}"
    assert lines_of(order) == [(chair, 2, "allocated"), (table, 11, "backordered")]
    assert (order["complete"], order["earliest_eta"]) == (False, None)
    assert (order["cart_id"], order["currency"], order["total"]) == (cart, "EUR", 1300)
    shown = (await api.client.get(f"/v1/orders/{order['order_id']}")).json()
    assert {name: order[name] for name in shown} == shown

    closed = await cart_of(api, cart)
    assert (closed["status"], closed["order_id"], closed["version"]) == ("closed", order["order_id"], 3)
    assert answer.headers["etag"] == '"3"'


async def test_the_same_checkout_again_is_the_same_answer(api: Api) -> None:
    cart, (chair,) = await filled(api, 2)
    first = await check_out(api, cart)
    order_id = first.json()["order_id"]

    for body in ({}, {"order_id": order_id}, {"if_unavailable": "backorder"}):
        again = await check_out(api, cart, **body)
        assert (again.status_code, again.json(), again.headers["etag"]) == (200, first.json(), first.headers["etag"])
        assert "location" not in again.headers
    assert (await api.product(chair))["allocated_qty"] == 2

    other, _ = await filled(api, 2)
    key = uuid.uuid4().hex
    answers = [await check_out(api, other, key=key) for _ in range(2)]
    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}


async def test_a_closed_cart_refuses_everything_else(api: Api) -> None:
    cart, (chair,) = await filled(api, 2)
    order_id = new("order")
    assert (await check_out(api, cart, order_id=order_id)).status_code == 201
    before = await cart_of(api, cart)
    item: Json = {"qty": 2, "unit_price": 100}

    for answer in (
        await api.client.put(f"/v1/carts/{cart}/items/{chair}", json=item),
        await api.client.post(
            f"/v1/carts/{cart}/items", json={"sku": chair, **item}, headers={"Idempotency-Key": uuid.uuid4().hex}
        ),
        await api.client.delete(f"/v1/carts/{cart}/items/{chair}"),
        await api.client.delete(f"/v1/carts/{cart}/items/{new('sku')}"),
        await check_out(api, cart, order_id=new("order")),
    ):
        assert_problem(answer, 409, "cart-closed")
    assert await cart_of(api, cart) == before


async def test_a_cancelled_order_is_not_placed_again(api: Api) -> None:
    cart, (chair, table) = await filled(api, 2, 3)
    order_id = (await check_out(api, cart)).json()["order_id"]

    await api.cancel(order_id, chair)
    assert lines_of((await check_out(api, cart)).json()) == [(table, 3, "allocated")]
    await api.client.delete(f"/v1/orders/{order_id}")
    assert_problem(await check_out(api, cart), 404, "order-not-found")

    assert (await api.product(table))["allocated_qty"] == 0


async def test_an_empty_cart_and_one_that_does_not_exist_are_not_checked_out(api: Api) -> None:
    cart = new("cart")
    assert_problem(await check_out(api, cart), 404, "cart-not-found")
    await put(api, cart, "CHAIR", 1, 1)
    await api.client.delete(f"/v1/carts/{cart}/items/CHAIR")
    assert_problem(await check_out(api, cart), 409, "cart-empty")


async def test_a_refused_checkout_changes_nothing(api: Api) -> None:
    cart, (chair, table) = await filled(api, 2, 11)
    before = await cart_of(api, cart)

    short = assert_problem(await check_out(api, cart, if_unavailable="reject"), 409, "out-of-stock")
    assert short["skus"] == [table]
    unknown = new("sku")
    await put(api, cart, unknown, 1, 0)
    assert assert_problem(await check_out(api, cart), 400, "invalid-sku")["skus"] == [unknown]
    await api.client.delete(f"/v1/carts/{cart}/items/{unknown}")

    after = await cart_of(api, cart)
    assert after == before | {"version": 4}
    assert (await api.product(chair))["available_qty"] == 10
    assert (await check_out(api, cart, order_id=new("order"))).status_code == 201


async def test_the_id_of_another_order_is_a_conflict(api: Api) -> None:
    cart, (chair,) = await filled(api, 2)
    order_id = await api.order(chair, 1)

    assert_problem(await check_out(api, cart, order_id=order_id), 409, "order-conflict")
    assert (await cart_of(api, cart))["status"] == "open"

    same = await api.order(chair, 2)
    assert (await check_out(api, cart, order_id=same)).status_code == 201
    assert (await api.product(chair))["allocated_qty"] == 3


async def test_a_checkout_needs_a_body_of_the_right_form(api: Api) -> None:
    cart, _ = await filled(api, 1)
    assert_invalid(await check_out(api, cart, order_id=None), ["body", "order_id"])
    assert_invalid(await check_out(api, cart, lines=[]), ["body", "lines"])


async def test_a_cart_is_held_changed_held_again_and_confirmed(api: Api) -> None:
    cart, (chair, table) = await filled(api, 2, 3)

    first = await check_out(api, cart, hold_for=600)
    again = await check_out(api, cart, hold_for=600)
    assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
    assert again.headers["etag"] == first.headers["etag"] == '"3"'
    assert lines_of(first.json()) == [(chair, 2, "held"), (table, 3, "held")]
    (held_until,) = {line["held_until"] for line in first.json()["lines"]}
    assert datetime.fromisoformat(held_until) > datetime.now(UTC) + timedelta(minutes=9)
    order_id = first.json()["order_id"]
    shown = await cart_of(api, cart)
    assert (shown["status"], shown["order_id"]) == ("checked_out", order_id)

    await put(api, cart, chair, 4, 100)
    await api.client.delete(f"/v1/carts/{cart}/items/{table}")
    assert (await cart_of(api, cart))["status"] == "open"
    replaced = await check_out(api, cart, hold_for=600, order_id=order_id)
    assert (replaced.status_code, lines_of(replaced.json())) == (201, [(chair, 4, "held")])
    assert ((await api.product(chair))["held_qty"], (await api.product(table))["held_qty"]) == (4, 0)
    assert_problem(await check_out(api, cart, hold_for=600, order_id=new("order")), 409, "checkout-conflict")

    firm = await check_out(api, cart)
    assert (firm.status_code, lines_of(firm.json()), firm.json()["total"]) == (201, [(chair, 4, "allocated")], 400)
    assert (await cart_of(api, cart))["status"] == "closed"
    assert (await check_out(api, cart)).json() == firm.json()
    assert_problem(await check_out(api, cart, hold_for=600), 409, "cart-closed")
    shown_order = (await api.client.get(f"/v1/orders/{order_id}")).json()
    assert lines_of(shown_order) == [(chair, 4, "allocated")]


async def test_a_hold_is_refused_where_a_line_finds_no_batch(api: Api) -> None:
    cart, (chair, table) = await filled(api, 2, 11)

    assert assert_problem(await check_out(api, cart, hold_for=60), 409, "out-of-stock")["skus"] == [table]
    assert_invalid(await check_out(api, cart, hold_for=60, if_unavailable="backorder"), ["body"])
    assert_invalid(await check_out(api, cart, hold_for=901), ["body", "hold_for"])
    assert_invalid(await check_out(api, cart, hold_for=0), ["body", "hold_for"])
    assert (await api.product(chair))["held_qty"] == 0
    assert (await cart_of(api, cart))["status"] == "open"
    await put(api, cart, table, 10, 100)
    assert (await check_out(api, cart, hold_for=60, if_unavailable="reject")).status_code == 201


async def test_a_held_checkout_with_a_key_is_answered_from_the_first_one(api: Api) -> None:
    cart, (chair,) = await filled(api, 2)
    key = uuid.uuid4().hex
    first = await check_out(api, cart, key=key, hold_for=600)
    await put(api, cart, chair, 3, 100)

    again = await check_out(api, cart, key=key, hold_for=600)

    assert (again.status_code, again.content) == (201, first.content)
    assert (await api.product(chair))["held_qty"] == 2


async def test_after_the_end_of_its_hold_a_cart_is_held_or_placed_again(api: Api) -> None:
    cart, (chair,) = await filled(api, 2)
    order_id = (await check_out(api, cart, hold_for=1)).json()["order_id"]

    async def is_held_anew() -> bool:
        answer = await check_out(api, cart, hold_for=1)
        assert (answer.status_code in {200, 201}, answer.json()["order_id"]) == (True, order_id)
        return answer.status_code == 201

    await eventually(is_held_anew)
    await eventually(is_held_anew)
    assert (await cart_of(api, cart))["version"] == 2

    await put(api, cart, chair, 3, 100)
    late = await check_out(api, cart)
    assert (late.status_code, lines_of(late.json())) == (201, [(chair, 3, "allocated")])


async def test_of_a_hold_a_confirmation_and_a_change_at_once_each_order_is_what_its_cart_has(
    api: Api, other_api: Api
) -> None:
    for _ in range(10):
        cart, (chair,) = await filled(api, 1)
        held, firm, changed = await asyncio.gather(
            check_out(api, cart, hold_for=60), check_out(other_api, cart), put(other_api, cart, chair, 2, 100)
        )

        assert firm.status_code == 201
        assert held.status_code == 201 or held.json()["code"] == "cart-closed"
        assert changed.status_code == 200 or changed.json()["code"] == "cart-closed"
        shown = await cart_of(api, cart)
        assert (shown["status"], shown["order_id"]) == ("closed", firm.json()["order_id"])
        (line,) = await api.lines(shown["order_id"])
        assert (line["qty"], line["status"]) == (shown["items"][0]["qty"], "allocated")
        product = await api.product(chair)
        assert (product["allocated_qty"], product["held_qty"]) == (line["qty"], 0)


async def test_a_cart_that_is_checked_out_at_once_gets_one_order(api: Api, other_api: Api) -> None:
    for _ in range(5):
        cart, (chair,) = await filled(api, 1, stock=50)
        answers = await asyncio.gather(*(check_out((api, other_api)[number % 2], cart) for number in range(10)))

        assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
        assert len({answer.json()["order_id"] for answer in answers}) == 1
        assert (await api.product(chair))["allocated_qty"] == 1


async def test_carts_with_the_same_skus_are_checked_out_at_once_without_deadlock(api: Api, other_api: Api) -> None:
    skus = sorted(new("sku") for _ in range(5))
    for sku in skus:
        await api.record(sku, 1000)
    carts = [new("cart") for _ in range(40)]
    for number, cart in enumerate(carts):
        for sku in skus[number % 3 :]:
            await put(api, cart, sku, 1, 1)

    answers = await asyncio.gather(
        *(check_out((api, other_api)[number % 2], cart) for number, cart in enumerate(carts))
    )

    assert {answer.status_code for answer in answers} == {201}
    assert [len(answer.json()["lines"]) for answer in answers] == [5 - number % 3 for number in range(40)]
