"""Placing order lines, reading them back, cancelling them."""

import pytest

from tests.support.api import Api, Json, assert_problem, new


def allocated(order_id: str, sku: str, qty: int, batch_ref: str, eta: str | None) -> Json:
    return {
        "order_id": order_id,
        "sku": sku,
        "qty": qty,
        "status": "allocated",
        "batch_ref": batch_ref,
        "eta": eta,
        "held_until": None,
    }


def backordered(order_id: str, sku: str, qty: int) -> Json:
    return {
        "order_id": order_id,
        "sku": sku,
        "qty": qty,
        "status": "backordered",
        "batch_ref": None,
        "eta": None,
        "held_until": None,
    }


@pytest.mark.parametrize("eta", ["2011-01-02", None])
@pytest.mark.parametrize("if_unavailable", [{}, {"if_unavailable": "backorder"}, {"if_unavailable": "reject"}], ids=str)
async def test_a_line_that_fits_is_answered_with_201_and_its_batch(
    api: Api, eta: str | None, if_unavailable: Json
) -> None:
    sku, order = new("sku"), new("order")
    ref = await api.record(sku, 10, eta=eta)
    answer = await api.allocate(sku, 10, order_id=order, **if_unavailable)
    assert (answer.status_code, answer.headers["content-type"]) == (201, "application/json")
    assert answer.json() == allocated(order, sku, 10, ref, eta)


@pytest.mark.parametrize("if_unavailable", [{}, {"if_unavailable": "backorder"}], ids=str)
async def test_a_line_that_no_batch_can_hold_is_answered_with_202_and_kept(api: Api, if_unavailable: Json) -> None:
    sku, order = new("sku"), new("order")
    await api.record(sku, 9)
    answer = await api.allocate(sku, 10, order_id=order, **if_unavailable)
    assert (answer.status_code, answer.headers["content-type"]) == (202, "application/json")
    assert answer.json() == backordered(order, sku, 10)
    assert await api.lines(order) == [backordered(order, sku, 10)]
    assert (await api.product(sku))["backordered_qty"] == 10


async def test_a_line_to_be_rejected_is_refused_and_not_kept(api: Api) -> None:
    sku, order = new("sku"), new("order")
    ref = await api.record(sku, 9)
    answer = await api.allocate(sku, 10, order_id=order, if_unavailable="reject")
    assert_problem(answer, 409, "out-of-stock", f"Out of stock for sku {sku}")
    assert await api.lines(order) == []
    # It takes no later stock, and can be placed again with another quantity.
    await api.change(ref, qty=20)
    assert (await api.batch(ref))["allocated_qty"] == 0
    assert (await api.allocate(sku, 11, order_id=order)).status_code == 201


@pytest.mark.parametrize("if_unavailable", ["backorder", "reject"])
async def test_a_sku_without_any_batch_is_invalid(api: Api, if_unavailable: str) -> None:
    sku, order = new("sku"), new("order")
    answer = await api.allocate(sku, 10, order_id=order, if_unavailable=if_unavailable)
    assert_problem(answer, 400, "invalid-sku", f"Invalid sku {sku}")
    assert await api.lines(order) == []


async def test_case_counts_in_a_sku(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 10)
    assert_problem(await api.allocate(sku.upper(), 1), 400, "invalid-sku", f"Invalid sku {sku.upper()}")


@pytest.mark.parametrize("if_unavailable", [{}, {"if_unavailable": "reject"}], ids=str)
async def test_the_same_line_again_is_answered_with_200_and_takes_nothing_more(api: Api, if_unavailable: Json) -> None:
    sku, order = new("sku"), new("order")
    ref = await api.record(sku, 10)
    first = await api.allocate(sku, 6, order_id=order)
    again = await api.allocate(sku, 6, order_id=order, **if_unavailable)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert (await api.batch(ref))["allocated_qty"] == 6


async def test_the_same_line_again_shows_it_as_it_is_now(api: Api) -> None:
    sku, order = new("sku"), new("order")
    first = await api.record(sku, 10, eta="2011-01-01")
    await api.allocate(sku, 6, order_id=order)
    second = await api.record(sku, 10, eta="2011-01-02")
    await api.change(first, qty=5)
    await api.change(second, eta="2011-03-03")
    again = await api.allocate(sku, 6, order_id=order)
    assert (again.status_code, again.json()) == (200, allocated(order, sku, 6, second, "2011-03-03"))


async def test_a_backordered_line_again_is_answered_with_200_even_with_reject(api: Api) -> None:
    sku, order = new("sku"), new("order")
    await api.record(sku, 1)
    assert (await api.allocate(sku, 6, order_id=order)).status_code == 202
    for if_unavailable in ("backorder", "reject"):
        again = await api.allocate(sku, 6, order_id=order, if_unavailable=if_unavailable)
        assert (again.status_code, again.json()) == (200, backordered(order, sku, 6))
    assert (await api.product(sku))["backordered_qty"] == 6


async def test_a_backordered_line_again_shows_its_new_batch(api: Api) -> None:
    sku, order = new("sku"), new("order")
    await api.record(sku, 1)
    await api.allocate(sku, 6, order_id=order)
    ref = await api.record(sku, 6, eta="2011-01-01")
    again = await api.allocate(sku, 6, order_id=order, if_unavailable="reject")
    assert (again.status_code, again.json()) == (200, allocated(order, sku, 6, ref, "2011-01-01"))


@pytest.mark.parametrize("if_unavailable", ["backorder", "reject"])
@pytest.mark.parametrize("stock", [1, 6], ids=["backordered", "allocated"])
@pytest.mark.parametrize("qty", [5, 7, 2_147_483_647])
async def test_another_quantity_of_an_accepted_line_is_a_conflict(
    api: Api, stock: int, qty: int, if_unavailable: str
) -> None:
    sku, order = new("sku"), new("order")
    await api.record(sku, stock)
    await api.allocate(sku, 6, order_id=order)
    before = await api.lines(order)
    answer = await api.allocate(sku, qty, order_id=order, if_unavailable=if_unavailable)
    assert_problem(answer, 409, "allocation-conflict")
    assert await api.lines(order) == before


async def test_an_order_has_a_line_of_its_own_for_each_sku_shown_by_sku(api: Api) -> None:
    order, suffix = new("order"), new("sku")
    skus = [f"{first}{suffix}" for first in ("b", "B", "a_", "a-", "a", "A", "10", "9")]
    refs = {sku: await api.record(sku, 5, eta="2011-01-01") for sku in skus}
    for sku in skus:
        await api.order(sku, 5, order_id=order)
    answer = await api.client.get(f"/v1/allocations/{order}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == [allocated(order, sku, 5, refs[sku], "2011-01-01") for sku in sorted(skus)]


async def test_an_order_without_lines_is_not_found(api: Api) -> None:
    assert_problem(await api.client.get(f"/v1/allocations/{new('order')}"), 404, "order-not-found")


async def test_cancelling_answers_204_without_a_body_and_frees_the_stock(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 10)
    order = await api.order(sku, 6)
    answer = await api.client.delete(f"/v1/allocations/{order}/{sku}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-type" not in answer.headers
    assert (await api.batch(ref))["available_qty"] == 10


async def test_an_order_whose_last_line_was_cancelled_is_not_found(api: Api) -> None:
    skus, order = [new("sku"), new("sku")], new("order")
    for sku in skus:
        await api.record(sku, 10)
        await api.order(sku, 6, order_id=order)
    await api.cancel(order, skus[0])
    assert [line["sku"] for line in await api.lines(order)] == [skus[1]]
    await api.cancel(order, skus[1])
    assert_problem(await api.client.get(f"/v1/allocations/{order}"), 404, "order-not-found")


async def test_a_cancelled_line_is_deleted_and_can_be_placed_again(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 10)
    order = await api.order(sku, 6)
    await api.cancel(order, sku)
    assert (await api.allocate(sku, 7, order_id=order)).status_code == 201


async def test_a_queued_line_can_be_cancelled(api: Api) -> None:
    sku = new("sku")
    ref = await api.record(sku, 1)
    order = await api.order(sku, 6)
    await api.cancel(order, sku)
    assert (await api.product(sku))["backordered_qty"] == 0
    await api.change(ref, qty=10)
    assert (await api.batch(ref))["allocated_qty"] == 0


async def test_an_unknown_line_cannot_be_cancelled(api: Api) -> None:
    sku = new("sku")
    await api.record(sku, 10)
    order = await api.order(sku, 6)
    await api.cancel(order, sku)
    for path in (f"{order}/{sku}", f"{new('order')}/{sku}", f"{order}/{new('sku')}"):
        assert_problem(await api.client.delete(f"/v1/allocations/{path}"), 404, "allocation-not-found")


async def test_a_line_is_not_cancelled_under_another_order_or_sku(api: Api) -> None:
    skus = [new("sku"), new("sku")]
    for sku in skus:
        await api.record(sku, 10)
    orders = [await api.order(sku, 6) for sku in skus]
    for order, sku in zip(orders, reversed(skus), strict=True):
        answer = await api.client.delete(f"/v1/allocations/{order}/{sku}")
        assert_problem(answer, 404, "allocation-not-found")
    assert [len(await api.lines(order)) for order in orders] == [1, 1]
