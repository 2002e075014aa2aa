"""The end of holds, cuts, and what counts as available."""

from datetime import UTC, datetime, timedelta

from tests.support.api import assert_problem, new
from tests.support.hold_shop import HOUR, Shop, end_of, hold_many


async def test_a_hold_that_has_ended_is_gone_for_every_call(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 4)
    line = await shop.hold(sku, 4)
    shop.ahead = HOUR

    assert_problem(await shop.ship(line), 404, "allocation-not-found")
    assert_problem(
        await shop.api.client.delete(f"/v1/allocations/{line['order_id']}/{sku}"), 404, "allocation-not-found"
    )
    assert_problem(await shop.put_hold(line["order_id"]), 404, "order-not-found")

    kinds = await shop.kinds(sku)
    assert kinds == ["batch_created.v1", "line_held.v1", "hold_released.v1", "back_in_stock.v1"]
    assert (await shop.history(sku))[2]["reason"] == "expired"
    product = await shop.api.product(sku)
    assert (product["held_qty"], product["available_qty"]) == (0, 4)


async def test_a_late_payment_is_an_ordinary_placement(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 4)
    line = await shop.hold(sku, 4)
    shop.ahead = HOUR
    assert (await shop.api.allocate(sku, 1)).status_code == 201

    refused = await shop.confirm(line, if_unavailable="reject")
    waiting = await shop.confirm(line)

    assert_problem(refused, 409, "out-of-stock")
    assert (waiting.status_code, waiting.json()["status"]) == (202, "backordered")


async def test_a_waiting_order_comes_before_a_newcomer(shop: Shop) -> None:
    sku = new("sku")
    ref = await shop.api.record(sku, 4)
    await shop.hold(sku, 4)
    waiting = await shop.api.order(sku, 3)
    shop.ahead = HOUR

    answer = await shop.api.allocate(sku, 2, if_unavailable="reject")

    assert_problem(answer, 409, "out-of-stock")
    assert await shop.api.batch_of(waiting) == ref


async def test_an_expired_hold_with_lines_is_a_new_one(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 4)
    order = await shop.hold_order((sku, 4))
    shop.ahead = HOUR

    answer = await shop.put_hold(order["order_id"], (sku, 3))

    assert (answer.status_code, answer.json()["lines"][0]["status"]) == (200, "held")
    assert end_of(answer.json()["lines"][0]) > datetime.now(UTC) + HOUR


async def test_a_late_payment_of_an_order_places_what_has_lost_its_hold(shop: Shop) -> None:
    chairs, tables = new("sku"), new("sku")
    await shop.api.record(chairs, 5)
    await shop.api.record(tables, 5)
    order = await shop.hold_order((chairs, 1), (tables, 5))
    assert (await shop.api.allocate(chairs, 1, order_id=order["order_id"])).status_code == 201
    shop.ahead = HOUR
    await shop.api.order(tables, 1)

    refused = await shop.post_order(order["order_id"], (chairs, 1), (tables, 5), if_unavailable="reject")
    answer = await shop.post_order(order["order_id"], (chairs, 1), (tables, 5))

    assert_problem(refused, 409, "out-of-stock")
    assert answer.status_code == 201
    found = {line["sku"]: line["status"] for line in answer.json()["lines"]}
    assert found == {chairs: "allocated", tables: "backordered"}


async def test_a_clock_that_goes_back_revives_nothing(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 4)
    await shop.hold(sku, 4)
    shop.ahead = HOUR
    assert (await shop.api.allocate(sku, 1)).status_code == 201
    shop.ahead = timedelta()

    line = await shop.hold(sku, 2, seconds=60)

    assert end_of(line) > datetime.now(UTC) + HOUR


async def test_a_cut_releases_holds_before_firm_lines_and_the_last_one_first(shop: Shop) -> None:
    sku = new("sku")
    ref = await shop.api.record(sku, 10)
    first, second = await shop.hold(sku, 2), await shop.hold(sku, 3)
    firm = await shop.api.order(sku, 5)
    other = await shop.api.record(sku, 2, eta="2030-01-01")

    moved = await shop.api.moved(ref, qty=5)

    assert moved == [(first["order_id"], other)]
    assert await shop.api.lines(first["order_id"]) == [first | {"batch_ref": other, "eta": "2030-01-01"}]
    assert await shop.api.lines(second["order_id"]) == []
    assert await shop.api.batch_of(firm) == ref
    events = [event for event in await shop.history(sku) if event["event"] in {"hold_released.v1", "line_held.v1"}]
    assert [(event["event"], event["order_id"]) for event in events[2:]] == [
        ("line_held.v1", first["order_id"]),
        ("hold_released.v1", second["order_id"]),
    ]
    assert events[-1]["reason"] == "batch_quantity_changed"


async def test_held_pieces_are_available_to_the_order_that_holds_them(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 5)
    line = await shop.hold(sku, 4)
    path = f"/v1/products/{sku}/availability"

    for order_id, qty, available in ((None, 2, False), (line["order_id"], 5, True), (new("order"), 2, False)):
        parameters = {"qty": qty} | ({"order_id": order_id} if order_id else {})
        answer = await shop.api.client.get(path, params=parameters)
        assert answer.json()["available"] is available


async def test_a_checkout_does_not_look_like_low_stock_before_it_is_paid(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 10)
    await shop.api.watch(sku, 5)
    low = "/v1/products?low_stock=true&cursor=&limit=200".replace("cursor=&", "")

    line = await shop.hold(sku, 8)
    assert "low_stock.v1" not in await shop.kinds(sku)
    assert sku not in str((await shop.api.client.get(low)).json())
    await shop.confirm(line)

    assert (await shop.kinds(sku))[-1] == "low_stock.v1"
    assert sku in str((await shop.api.client.get(low)).json())


async def test_placements_go_on_while_many_holds_end(shop: Shop) -> None:
    sku = new("sku")
    here = await shop.api.record(sku, 800)
    await shop.api.record(sku, 5, eta="2030-01-01")
    await hold_many(shop, sku, 800)
    shop.ahead = HOUR

    first = await shop.api.allocate(sku, 1)
    left = (await shop.api.product(sku))["held_qty"]
    large = await shop.api.allocate(sku, 799)

    assert (first.status_code, first.json()["batch_ref"]) == (201, here)
    assert left == 600
    assert (large.status_code, large.json()["batch_ref"]) == (201, here)
    assert (await shop.api.product(sku))["held_qty"] == 0


async def test_many_holds_that_end_serve_the_queue_before_newcomers(shop: Shop) -> None:
    sku = new("sku")
    ref = await shop.api.record(sku, 800)
    await hold_many(shop, sku, 800)
    waiting = await shop.api.order(sku, 800)
    shop.ahead = HOUR

    answer = await shop.api.allocate(sku, 1, if_unavailable="reject")

    assert_problem(answer, 409, "out-of-stock")
    assert await shop.api.batch_of(waiting) == ref


async def test_a_line_whose_hold_is_one_of_many_that_have_ended_is_gone(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 801)
    await hold_many(shop, sku, 800)
    line = await shop.hold(sku, 1)
    shop.ahead = HOUR

    assert_problem(await shop.ship(line), 404, "allocation-not-found")
    assert (await shop.api.product(sku))["held_qty"] == 600
    assert (await shop.confirm(line)).status_code == 201
