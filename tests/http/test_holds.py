"""Holds of lines: stock that is kept for a limited time."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.api import assert_invalid, assert_problem, new
from tests.support.hold_shop import HOUR, Shop, end_of


async def test_a_hold_keeps_stock_until_its_end(shop: Shop) -> None:
    sku = new("sku")
    ref = await shop.api.record(sku, 10)

    line = await shop.hold(sku, 4, seconds=600)

    assert timedelta(seconds=590) < end_of(line) - datetime.now(UTC) <= timedelta(seconds=600)
    assert line["held_until"].endswith("Z")
    batch = await shop.api.batch(ref)
    assert (batch["available_qty"], batch["allocated_qty"], batch["held_qty"]) == (6, 4, 4)
    product = await shop.api.product(sku)
    assert (product["available_qty"], product["allocated_qty"], product["held_qty"]) == (6, 4, 4)
    assert await shop.api.lines(line["order_id"]) == [line]
    _, held = await shop.history(sku)
    assert (held["event"], held["order_id"], held["qty"], held["batch_ref"]) == (
        "line_held.v1",
        line["order_id"],
        4,
        ref,
    )


async def test_a_hold_that_no_batch_can_take_is_refused_and_never_waits(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 3)

    answer = await shop.api.allocate(sku, 4, hold_for=60)

    assert assert_problem(answer, 409, "out-of-stock")["skus"] == [sku]
    assert await shop.kinds(sku) == ["batch_created.v1", "allocation_failed.v1"]
    assert (await shop.api.product(sku))["backordered_qty"] == 0


@pytest.mark.parametrize("seconds", [0, -1, 901, 14401, 1.5, "60", None, True], ids=repr)
async def test_an_invalid_time_is_refused(shop: Shop, seconds: object) -> None:
    for answer in (
        await shop.api.allocate(new("sku"), 1, hold_for=seconds),
        await shop.post_order(new("order"), (new("sku"), 1), hold_for=seconds),
        await shop.api.client.put(f"/v1/orders/{new('order')}/hold", json={"hold_for": seconds}),
    ):
        assert_invalid(answer, ["body", "hold_for"])


async def test_an_item_of_a_bulk_request_with_an_invalid_time_fails_alone(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 10)
    items = [{"order_id": new("order"), "sku": sku, "qty": 1, "hold_for": seconds} for seconds in (60, 901)]

    answer = await shop.api.client.post("/v1/allocations/bulk", json={"items": items})

    results = answer.json()["results"]
    assert [result["status"] for result in results] == [201, 422]
    assert results[0]["allocation"]["status"] == "held"


async def test_a_hold_with_an_explicit_backorder_is_invalid(shop: Shop) -> None:
    for answer in (
        await shop.api.allocate(new("sku"), 1, hold_for=60, if_unavailable="backorder"),
        await shop.post_order(new("order"), (new("sku"), 1), hold_for=60, if_unavailable="backorder"),
    ):
        assert_invalid(answer, ["body"])


async def test_a_dry_run_of_a_hold_shows_it_and_keeps_nothing(shop: Shop) -> None:
    sku, order = new("sku"), new("order")
    await shop.api.record(sku, 5)
    body = {"order_id": order, "sku": sku, "qty": 5, "hold_for": 60}

    answer = await shop.api.client.post("/v1/allocations?dry_run=true", json=body)
    refused = await shop.api.client.post("/v1/allocations?dry_run=true", json=body | {"qty": 6})

    assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (200, "held", "in_warehouse")
    assert_problem(refused, 409, "out-of-stock")
    assert (await shop.api.product(sku))["held_qty"] == 0


async def test_the_same_hold_again_does_not_extend_it(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 10)
    line = await shop.hold(sku, 4, seconds=60)

    again = await shop.confirm(line, hold_for=900)

    assert (again.status_code, again.json()) == (200, line)
    assert await shop.kinds(sku) == ["batch_created.v1", "line_held.v1"]


async def test_a_confirmed_hold_is_firm_without_looking_at_the_stock_again(shop: Shop) -> None:
    sku = new("sku")
    ref = await shop.api.record(sku, 4)
    line = await shop.hold(sku, 4)
    assert_problem(await shop.api.allocate(sku, 1, if_unavailable="reject"), 409, "out-of-stock")

    answers = [await shop.confirm(line, if_unavailable="reject") for _ in range(2)]

    firm = line | {"status": "allocated", "held_until": None}
    assert [(answer.status_code, answer.json()) for answer in answers] == [(201, firm), (200, firm)]
    assert (await shop.api.batch(ref))["held_qty"] == 0
    assert (await shop.kinds(sku))[-1] == "line_allocated.v1"
    shop.ahead = HOUR
    assert (await shop.ship(line)).status_code == 200


async def test_a_hold_of_another_quantity_conflicts(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 10)
    line = await shop.hold(sku, 4)

    for more in ({"hold_for": 60}, {}):
        answer = await shop.api.allocate(sku, 5, order_id=line["order_id"], **more)
        assert_problem(answer, 409, "allocation-conflict")

    assert await shop.api.lines(line["order_id"]) == [line]


async def test_a_cancelled_hold_serves_the_queue(shop: Shop) -> None:
    sku = new("sku")
    ref = await shop.api.record(sku, 4)
    line = await shop.hold(sku, 4)
    waiting = await shop.api.order(sku, 3)

    await shop.api.cancel(line["order_id"], sku)

    assert await shop.api.batch_of(waiting) == ref
    *_, released, allocated, _ = await shop.history(sku)
    assert (released["event"], released["reason"]) == ("hold_released.v1", "cancelled")
    assert allocated["event"] == "line_allocated.v1"
    assert_problem(
        await shop.api.client.delete(f"/v1/allocations/{line['order_id']}/{sku}"), 404, "allocation-not-found"
    )


async def test_a_held_line_cannot_be_shipped(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 4)
    line = await shop.hold(sku, 4)

    assert_problem(await shop.ship(line), 409, "not-confirmed")


async def test_the_quantity_of_a_held_line_changes_and_its_end_stays(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 10)
    line = await shop.hold(sku, 4)

    answer = await shop.api.client.patch(f"/v1/allocations/{line['order_id']}/{sku}", json={"qty": 10})
    refused = await shop.api.client.patch(f"/v1/allocations/{line['order_id']}/{sku}", json={"qty": 11})

    assert (answer.status_code, answer.json()) == (200, line | {"qty": 10})
    assert_problem(refused, 409, "out-of-stock")
    assert (await shop.api.product(sku))["held_qty"] == 10
    *_, released, held, failed = await shop.history(sku)
    assert (released["event"], released["reason"], released["qty"]) == (
        "hold_released.v1",
        "replaced",
        4,
    )
    assert (held["event"], held["qty"]) == ("line_held.v1", 10)
    assert failed["event"] == "allocation_failed.v1"
