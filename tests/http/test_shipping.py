"""Shipping order lines."""

import asyncio

from tests.support.api import Api, assert_invalid, assert_problem, new


async def ship(api: Api, order_id: str, sku: str) -> int:
    return (await api.client.post(f"/v1/allocations/{order_id}/{sku}/ship")).status_code


async def test_shipping_a_line_twice_ships_it_once(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10, eta="2011-01-02")
    order = await api.order(sku, 4)

    answers = [await api.client.post(f"/v1/allocations/{order}/{sku}/ship") for _ in range(2)]

    line = {"order_id": order, "sku": sku, "qty": 4, "status": "shipped", "batch_ref": ref, "eta": "2011-01-02"}
    line |= {"held_until": None}
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, line)] * 2
    assert await api.lines(order) == [line]
    batch = await api.batch(ref)
    assert (batch["allocated_qty"], batch["shipped_qty"], batch["available_qty"]) == (0, 4, 6)
    product = await api.product(sku)
    assert (product["allocated_qty"], product["shipped_qty"], product["available_qty"]) == (0, 4, 6)


async def test_a_shipped_line_cannot_be_cancelled(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 4)
    order = await api.order(sku, 4)
    assert await ship(api, order, sku) == 200

    assert_problem(await api.client.delete(f"/v1/allocations/{order}/{sku}"), 409, "already-shipped")

    assert (await api.batch(ref))["available_qty"] == 0
    assert (await api.allocate(sku, 1, if_unavailable="reject")).status_code == 409


async def test_shipping_and_cancelling_at_once_releases_nothing_twice(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 20)
    orders = [await api.order(sku, 1) for _ in range(20)]

    shipped, cancelled = await asyncio.gather(
        asyncio.gather(*(ship(api, order, sku) for order in orders)),
        asyncio.gather(*(api.client.delete(f"/v1/allocations/{order}/{sku}") for order in orders)),
    )

    codes = [answer.status_code for answer in cancelled]
    assert sorted(zip(shipped, codes, strict=True)) == sorted(
        (200, 409) if done == 200 else (404, 204) for done in shipped
    )
    batch = await api.batch(ref)
    assert batch["shipped_qty"] == shipped.count(200)
    assert batch["available_qty"] == codes.count(204)


async def test_a_backordered_or_unknown_line_cannot_be_shipped(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 1)
    waiting = await api.order(sku, 4)

    assert_problem(await api.client.post(f"/v1/allocations/{waiting}/{sku}/ship"), 409, "not-allocated")
    assert_problem(await api.client.post(f"/v1/allocations/none/{sku}/ship"), 404, "allocation-not-found")
    assert_problem(await api.client.post("/v1/allocations/none/none/ship"), 404, "allocation-not-found")
    assert_invalid(await api.client.post(f"/v1/allocations/-/{sku}/ship"), ["path", "order_id"])


async def test_a_batch_cannot_be_cut_below_its_shipped_quantity(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    order = await api.order(sku, 4)
    assert await ship(api, order, sku) == 200

    assert_problem(await api.client.patch(f"/v1/batches/{ref}", json={"qty": 3}), 409, "below-shipped")

    assert (await api.change(ref, qty=4))["moved"] == []
    assert [line["status"] for line in await api.lines(order)] == ["shipped"]
