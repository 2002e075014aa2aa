"""Reorder points of products."""

import pytest

from tests.support.api import Api, assert_invalid, assert_problem, new

LARGEST = 2_147_483_647


async def test_setting_a_reorder_point_returns_the_stock(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 5)
    await api.record(sku, 10, eta="2011-01-02")
    await api.order(sku, 4)
    await api.order(sku, 20)

    answers = [await api.client.put(f"/v1/products/{sku}/reorder-point", json={"qty": 20}) for _ in range(2)]

    stock = {"sku": sku, "reorder_point": 20, "available_qty": 11, "backordered_qty": 20, "incoming_qty": 10}
    stock |= {"held_qty": 0}
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, stock)] * 2
    assert (await api.product(sku))["reorder_point"] == 20


async def test_a_quantity_of_0_removes_the_reorder_point(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 5)
    assert (await api.watch(sku, LARGEST))["reorder_point"] == LARGEST

    assert (await api.watch(sku, 0))["reorder_point"] is None
    assert (await api.product(sku))["reorder_point"] is None


async def test_it_outlives_what_happens_to_the_product(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 5)
    await api.watch(sku, 3)
    order = await api.order(sku, 5)
    await api.cancel(order, sku)
    await api.change(ref, qty=9)

    assert (await api.product(sku))["reorder_point"] == 3


async def test_a_sku_without_any_batch_has_no_reorder_point(api: Api) -> None:
    sku = new("sku")

    assert_problem(await api.client.put(f"/v1/products/{sku}/reorder-point", json={"qty": 5}), 404, "product-not-found")
    assert_problem(await api.client.get(f"/v1/products/{sku}"), 404, "product-not-found")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["body", "qty"]),
        ({"qty": -1}, ["body", "qty"]),
        ({"qty": None}, ["body", "qty"]),
        ({"qty": "5"}, ["body", "qty"]),
        ({"qty": 5.0}, ["body", "qty"]),
        ({"qty": LARGEST + 1}, ["body", "qty"]),
        ({"qty": 5, "sku": "other"}, ["body", "sku"]),
    ],
)
async def test_an_invalid_reorder_point_is_refused(api: Api, body: dict[str, object], where: list[str | int]) -> None:
    assert_invalid(await api.client.put("/v1/products/sku-1/reorder-point", json=body), where)


async def test_the_sku_has_to_be_an_identifier(api: Api) -> None:
    assert_invalid(await api.client.put("/v1/products/-/reorder-point", json={"qty": 1}), ["path", "sku"])
