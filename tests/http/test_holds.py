"""Holds: stock that is kept for a limited time. Each row of the contract's table, and its repetition."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from app.bootstrap import bootstrap
from app.settings import Settings
from tests.support.api import Api, Json, assert_invalid, assert_problem, in_process, new

HOUR = timedelta(hours=1)


@dataclass
class Shop:
    """The application, and the clock that its holds end by: that of the database, moved by `ahead`."""

    api: Api
    ahead: timedelta = timedelta()

    def clock(self, now: datetime) -> datetime:
        return now + self.ahead

    async def hold(self, sku: str, qty: int, *, order_id: str | None = None, seconds: int = 600) -> Json:
        """Hold a line. Returns it."""
        answer = await self.api.allocate(sku, qty, order_id=order_id, hold_for=seconds)
        assert answer.status_code == 201, answer.text
        line: Json = answer.json()
        assert line["status"] == "held"
        return line

    async def hold_order(self, *lines: tuple[str, int], seconds: int = 600) -> Json:
        """Hold an order. Returns it."""
        answer = await self.post_order(new("order"), *lines, hold_for=seconds)
        assert answer.status_code == 201, answer.text
        order: Json = answer.json()
        return order

    async def post_order(self, order_id: str, *lines: tuple[str, int], **more: object) -> httpx.Response:
        body = {"order_id": order_id, "lines": [{"sku": sku, "qty": qty} for sku, qty in lines], **more}
        return await self.api.client.post("/v1/orders", json=body)

    async def put_hold(
        self, order_id: str, *lines: tuple[str, int], seconds: int = 600, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        body: Json = {"hold_for": seconds}
        if lines:
            body["lines"] = [{"sku": sku, "qty": qty} for sku, qty in lines]
        return await self.api.client.put(f"/v1/orders/{order_id}/hold", json=body, headers=headers)

    async def confirm(self, line: Json, **more: object) -> httpx.Response:
        return await self.api.allocate(line["sku"], line["qty"], order_id=line["order_id"], **more)

    async def ship(self, line: Json) -> httpx.Response:
        return await self.api.client.post(f"/v1/allocations/{line['order_id']}/{line['sku']}/ship")

    async def history(self, sku: str) -> list[Json]:
        """The events of the product, oldest first."""
        answer = await self.api.client.get(f"/v1/products/{sku}/history", params={"limit": 200})
        assert answer.status_code == 200, answer.text
        return list(reversed(answer.json()["items"]))

    async def kinds(self, sku: str) -> list[str]:
        return [event["event"] for event in await self.history(sku)]


@pytest.fixture
async def shop(shared_settings: Settings) -> AsyncIterator[Shop]:
    found = Shop(None)  # type: ignore[arg-type]
    async with bootstrap(shared_settings, clock=found.clock) as service, in_process(service) as api:
        found.api = api
        yield found


def end_of(line: Json) -> datetime:
    return datetime.fromisoformat(line["held_until"])


# --- a line that is not there ----------------------------------------------------------------------------------------


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


# --- a line that is held ---------------------------------------------------------------------------------------------


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


# --- the hold of an order --------------------------------------------------------------------------------------------


async def test_an_order_is_held_as_a_whole_or_not_at_all(shop: Shop) -> None:
    chairs, tables = new("sku"), new("sku")
    await shop.api.record(chairs, 5)
    await shop.api.record(tables, 1, eta="2030-01-01")

    refused = await shop.post_order(new("order"), (chairs, 2), (tables, 2), hold_for=60)
    order = await shop.hold_order((chairs, 2), (tables, 1))

    assert assert_problem(refused, 409, "out-of-stock")["skus"] == [tables]
    assert (order["complete"], order["earliest_eta"]) == (False, "2030-01-01")
    assert {line["status"] for line in order["lines"]} == {"held"}
    assert len({line["held_until"] for line in order["lines"]}) == 1
    assert (await shop.kinds(chairs)) == ["batch_created.v1", "line_held.v1"]
    assert (await shop.kinds(tables)) == ["batch_created.v1", "allocation_failed.v1", "line_held.v1"]


async def test_a_held_order_is_confirmed_as_a_whole(shop: Shop) -> None:
    chairs, tables = new("sku"), new("sku")
    await shop.api.record(chairs, 2)
    await shop.api.record(tables, 1)
    order = await shop.hold_order((chairs, 2), (tables, 1))
    lines = ((chairs, 2), (tables, 1))

    again = await shop.post_order(order["order_id"], *lines, hold_for=900)
    other = await shop.post_order(order["order_id"], (chairs, 1))
    answers = [await shop.post_order(order["order_id"], *lines) for _ in range(2)]

    assert (again.status_code, again.json()) == (200, order)
    assert_problem(other, 409, "order-conflict")
    assert [answer.status_code for answer in answers] == [201, 200]
    assert {line["status"] for line in answers[0].json()["lines"]} == {"allocated"}
    assert answers[0].json()["complete"]
    assert answers[1].json() == answers[0].json()


async def test_a_hold_is_extended(shop: Shop) -> None:
    sku = new("sku")
    await shop.api.record(sku, 5)
    order = await shop.hold_order((sku, 2), seconds=60)

    longer = await shop.put_hold(order["order_id"], seconds=900)
    shorter = await shop.put_hold(order["order_id"], seconds=300)

    (before,), (after,), (last,) = order["lines"], longer.json()["lines"], shorter.json()["lines"]
    assert (longer.status_code, shorter.status_code) == (200, 200)
    assert timedelta(seconds=839) < end_of(after) - end_of(before) < timedelta(seconds=860)
    assert end_of(before) < end_of(last) < end_of(after)
    assert await shop.kinds(sku) == ["batch_created.v1", *["line_held.v1"] * 3]


async def test_with_a_key_an_extension_counts_once(shop: Shop) -> None:
    sku, key = new("sku"), {"Idempotency-Key": new("key")}
    await shop.api.record(sku, 5)
    order = await shop.hold_order((sku, 2))

    answers = [await shop.put_hold(order["order_id"], headers=key) for _ in range(2)]

    assert answers[0].content == answers[1].content
    assert await shop.kinds(sku) == ["batch_created.v1", "line_held.v1", "line_held.v1"]


async def test_the_lines_of_a_hold_are_replaced_and_its_own_pieces_are_available_to_it(shop: Shop) -> None:
    chairs, tables, lamps = new("sku"), new("sku"), new("sku")
    for sku in (chairs, tables, lamps):
        await shop.api.record(sku, 5)
    order = await shop.hold_order((chairs, 3), (tables, 5))
    waiting = await shop.api.order(tables, 5)

    answer = await shop.put_hold(order["order_id"], (chairs, 5), (lamps, 1))

    assert answer.status_code == 200, answer.text
    assert [(line["sku"], line["qty"], line["status"]) for line in answer.json()["lines"]] == sorted(
        [(chairs, 5, "held"), (lamps, 1, "held")]
    )
    assert len({line["held_until"] for line in answer.json()["lines"]}) == 1
    assert await shop.api.batch_of(waiting) is not None
    assert (await shop.history(tables))[-2]["reason"] == "replaced"
    assert (await shop.post_order(order["order_id"], (chairs, 5), (lamps, 1))).status_code == 201


async def test_a_replacement_that_is_refused_leaves_the_hold_as_it_was(shop: Shop) -> None:
    chairs, tables = new("sku"), new("sku")
    await shop.api.record(chairs, 5)
    await shop.api.record(tables, 5)
    order = await shop.hold_order((chairs, 3))

    answer = await shop.put_hold(order["order_id"], (chairs, 1), (tables, 6))
    unknown = await shop.put_hold(order["order_id"], (chairs, 1), (new("sku"), 6))

    assert assert_problem(answer, 409, "out-of-stock")["skus"] == [tables]
    assert_problem(unknown, 400, "invalid-sku")
    assert await shop.api.lines(order["order_id"]) == order["lines"]
    assert await shop.kinds(tables) == ["batch_created.v1", "allocation_failed.v1"]


async def test_a_firm_order_or_line_is_not_held(shop: Shop) -> None:
    chairs, tables = new("sku"), new("sku")
    await shop.api.record(chairs, 5)
    await shop.api.record(tables, 5)
    firm = await shop.api.order(chairs, 1)
    order = await shop.hold_order((chairs, 1), (tables, 1))
    assert (await shop.api.allocate(chairs, 1, order_id=order["order_id"])).status_code == 201

    again = await shop.api.allocate(chairs, 1, order_id=firm, hold_for=60)
    answers = [
        await shop.put_hold(firm),
        await shop.put_hold(firm, (tables, 1)),
        await shop.put_hold(order["order_id"], (chairs, 2), (tables, 1)),
    ]
    extended = await shop.put_hold(order["order_id"])

    assert (again.status_code, again.json()["status"]) == (200, "allocated")
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (409, "not-held")
    assert answers[2].json()["skus"] == [chairs]
    assert sorted(line["status"] for line in extended.json()["lines"]) == ["allocated", "held"]


# --- the end of a hold -----------------------------------------------------------------------------------------------


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


# --- cuts, availability, low stock -----------------------------------------------------------------------------------


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


# --- many at once ----------------------------------------------------------------------------------------------------


async def hold_many(shop: Shop, sku: str, count: int) -> None:
    items = [{"order_id": new("order"), "sku": sku, "qty": 1, "hold_for": 600} for _ in range(count)]
    answer = await shop.api.client.post("/v1/allocations/bulk", json={"items": items})
    assert {result["status"] for result in answer.json()["results"]} == {201}


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
    assert left == 300
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
    assert (await shop.api.product(sku))["held_qty"] == 300
    assert (await shop.confirm(line)).status_code == 201
