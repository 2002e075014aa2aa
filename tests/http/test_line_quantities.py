"""Changing the quantity of an order line in one transaction, without losing its stock to backorders."""

import asyncio

import httpx
import pytest

from tests.support.api import Api, Json, assert_invalid, assert_problem, new


async def resize(api: Api, order_id: str, sku: str, qty: int) -> httpx.Response:
    return await api.client.patch(f"/v1/allocations/{order_id}/{sku}", json={"qty": qty})


def line(order_id: str, sku: str, qty: int, ref: str | None) -> Json:
    status = "allocated" if ref else "backordered"
    return {
        "order_id": order_id,
        "sku": sku,
        "qty": qty,
        "status": status,
        "batch_ref": ref,
        "eta": None,
        "held_until": None,
    }


async def test_a_line_grows_from_5_to_6_although_another_one_waits_for_8(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 8)
    mine, waiting = await api.order(sku, 5), await api.order(sku, 8)

    answer = await resize(api, mine, sku, 6)

    assert (answer.status_code, answer.json()) == (200, line(mine, sku, 6, ref))
    assert await api.lines(mine) == [line(mine, sku, 6, ref)]
    assert await api.batch_of(waiting) is None
    history = (await api.client.get(f"/v1/products/{sku}/history?limit=2")).json()["items"]
    assert [(entry["event"], entry["qty"], entry.get("new_qty")) for entry in history] == [
        ("line_allocated.v1", 6, None),
        ("line_deallocated.v1", 5, 6),
    ]
    product = await api.product(sku)
    assert (product["allocated_qty"], product["available_qty"], product["backordered_qty"]) == (6, 2, 8)


async def test_a_smaller_line_serves_the_queue_in_the_same_transaction(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 8)
    mine, waiting = await api.order(sku, 8), await api.order(sku, 4)

    answer = await resize(api, mine, sku, 4)

    assert (answer.status_code, answer.json()) == (200, line(mine, sku, 4, ref))
    assert await api.batch_of(waiting) == ref


async def test_a_larger_line_that_no_batch_holds_is_refused_and_stays_as_it_was(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 8)
    mine = await api.order(sku, 5)

    assert_problem(await resize(api, mine, sku, 9), 409, "out-of-stock", f"Out of stock for sku {sku}")

    assert await api.lines(mine) == [line(mine, sku, 5, ref)]
    history = (await api.client.get(f"/v1/products/{sku}/history?limit=2")).json()["items"]
    assert [(entry["event"], entry["qty"], entry["reason"]) for entry in history] == [
        ("allocation_failed.v1", 9, "out_of_stock"),
        ("out_of_stock.v1", 9, None),
    ]


async def test_a_waiting_line_keeps_its_place_whatever_its_quantity(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 1)
    first, second = await api.order(sku, 5), await api.order(sku, 5)

    assert (await resize(api, first, sku, 7)).json() == line(first, sku, 7, None)
    ref = await api.record(sku, 7)

    assert [await api.batch_of(order) for order in (first, second)] == [ref, None]


async def test_a_line_that_was_shipped_or_never_placed_is_refused(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 8)
    mine = await api.order(sku, 5)
    await api.client.post(f"/v1/allocations/{mine}/{sku}/ship")

    assert_problem(await resize(api, mine, sku, 4), 409, "already-shipped")
    assert_problem(await resize(api, new("order"), sku, 4), 404, "allocation-not-found")
    assert_problem(await resize(api, mine, new("sku"), 4), 404, "allocation-not-found")


@pytest.mark.parametrize("body", [{}, {"qty": 0}, {"qty": "3"}, {"qty": 2_147_483_648}, {"qty": None}])
async def test_an_invalid_quantity_is_refused(api: Api, body: Json) -> None:
    answer = await api.client.patch(f"/v1/allocations/{new('order')}/{new('sku')}", json=body)
    assert_invalid(answer, ["body", "qty"])


async def test_the_same_line_again_is_the_one_with_the_new_quantity(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 8)
    mine = await api.order(sku, 5)
    await resize(api, mine, sku, 6)

    assert (await api.allocate(sku, 6, order_id=mine)).status_code == 200
    assert_problem(await api.allocate(sku, 5, order_id=mine), 409, "allocation-conflict")


async def test_the_same_order_again_is_the_one_with_the_new_quantity(api: Api) -> None:
    chair, table = new("sku"), new("sku")
    await api.record(chair, 8)
    await api.record(table, 8)
    order_id = new("order")

    def order(chairs: int) -> Json:
        return {"order_id": order_id, "lines": [{"sku": chair, "qty": chairs}, {"sku": table, "qty": 1}]}

    assert (await api.client.post("/v1/orders", json=order(5))).status_code == 201
    await resize(api, order_id, chair, 6)

    assert_problem(await api.client.post("/v1/orders", json=order(5)), 409, "order-conflict")
    again = await api.client.post("/v1/orders", json=order(6))
    assert (again.status_code, [each["qty"] for each in again.json()["lines"]]) in ((200, [6, 1]), (200, [1, 6]))
    dry = await api.client.post("/v1/orders?dry_run=true", json=order(6))
    assert {each["reason"] for each in dry.json()["lines"]} == {"already_accepted"}


async def test_lines_that_grow_at_once_never_take_more_than_there_is(api: Api, other_api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 15)
    orders = [await api.order(sku, 1) for _ in range(10)]

    answers = await asyncio.gather(
        *(resize((api, other_api)[number % 2], order, sku, 2) for number, order in enumerate(orders))
    )

    codes = [answer.status_code for answer in answers]
    assert sorted(codes) == [200] * 5 + [409] * 5
    batch = await api.batch(ref)
    assert (batch["allocated_qty"], batch["available_qty"]) == (15, 0)
