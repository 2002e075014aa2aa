"""Orders of several lines, as a caller sees them."""

import asyncio
import random
import uuid

import httpx

from tests.support.api import Api, Json, assert_invalid, assert_problem, new


def lines(*wanted: tuple[str, int]) -> list[Json]:
    return [{"sku": sku, "qty": qty} for sku, qty in wanted]


async def stocked(api: Api, *quantities: int) -> list[str]:
    """New SKUs in order, with these quantities in the warehouse."""
    skus = sorted(new("sku") for _ in quantities)
    for sku, qty in zip(skus, quantities, strict=True):
        await api.record(sku, qty)
    return skus


async def test_an_order_is_placed_shown_and_cancelled(api: Api) -> None:
    chair, table = await stocked(api, 10, 1)
    order_id = new("order")
    body = {"order_id": order_id, "lines": lines((table, 2), (chair, 3))}

    answer = await api.client.post("/v1/orders", json=body)

    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/orders/{order_id}")
    placed = answer.json()
    assert [(line["sku"], line["qty"], line["status"]) for line in placed["lines"]] == [
        (chair, 3, "allocated"),
        (table, 2, "backordered"),
    ]
    assert (placed["order_id"], placed["complete"], placed["earliest_eta"]) == (order_id, False, None)
    shown = await api.client.get(f"/v1/orders/{order_id}")
    assert (shown.status_code, shown.json()) == (200, placed)
    assert await api.lines(order_id) == placed["lines"]

    again = await api.client.post("/v1/orders", json=body)
    assert (again.status_code, again.json()) == (200, placed)
    assert "location" not in again.headers

    assert (await api.client.delete(f"/v1/orders/{order_id}")).status_code == 204
    assert_problem(await api.client.get(f"/v1/orders/{order_id}"), 404, "order-not-found")
    assert_problem(await api.client.delete(f"/v1/orders/{order_id}"), 404, "order-not-found")
    assert (await api.product(chair))["available_qty"] == 10
    assert (await api.client.post("/v1/orders", json=body)).status_code == 201


async def test_an_order_can_leave_when_its_last_batch_is_there(api: Api) -> None:
    (chair,) = await stocked(api, 1)
    lamp, shelf = new("sku"), new("sku")
    await api.record(lamp, 1, eta="2030-02-01")
    await api.record(shelf, 1, eta="2030-01-01")

    answer = await api.client.post("/v1/orders", json={"lines": lines((chair, 1), (lamp, 1), (shelf, 1))})

    assert (answer.json()["complete"], answer.json()["earliest_eta"]) == (True, "2030-02-01")


async def test_the_service_makes_ids_in_the_order_of_time(api: Api) -> None:
    (chair,) = await stocked(api, 100)

    made = [
        (await api.client.post("/v1/orders", json={"lines": lines((chair, 1))})).json()["order_id"] for _ in range(20)
    ]

    assert made == sorted(set(made))
    assert all(uuid.UUID(each).version == 7 for each in made)


async def test_all_lines_at_once_or_nothing(api: Api) -> None:
    chair, table, lamp = await stocked(api, 10, 1, 1)
    order_id = new("order")
    body = {"order_id": order_id, "lines": lines((chair, 3), (table, 2), (lamp, 2)), "if_unavailable": "reject"}

    problem = assert_problem(await api.client.post("/v1/orders", json=body), 409, "out-of-stock")

    assert problem["skus"] == [table, lamp]
    assert await api.lines(order_id) == []
    assert (await api.product(chair))["available_qty"] == 10
    fitting = {**body, "lines": lines((chair, 3), (table, 1), (lamp, 1))}
    answer = await api.client.post("/v1/orders", json=fitting)
    assert (answer.status_code, answer.json()["complete"]) == (201, True)


async def test_other_lines_are_a_conflict(api: Api) -> None:
    chair, table = await stocked(api, 10, 10)
    order_id = new("order")
    await api.client.post("/v1/orders", json={"order_id": order_id, "lines": lines((chair, 1), (table, 1))})

    for other in (lines((chair, 1)), lines((chair, 2), (table, 1))):
        answer = await api.client.post("/v1/orders", json={"order_id": order_id, "lines": other})
        assert_problem(answer, 409, "order-conflict")
    assert [line["qty"] for line in await api.lines(order_id)] == [1, 1]


async def test_an_unknown_sku_refuses_the_whole_order(api: Api) -> None:
    (chair,) = await stocked(api, 10)
    unknown = new("sku")

    answer = await api.client.post("/v1/orders", json={"lines": lines((chair, 1), (unknown, 1))})

    assert assert_problem(answer, 400, "invalid-sku")["detail"] == f"Invalid sku {unknown}"
    assert (await api.product(chair))["available_qty"] == 10


async def test_an_invalid_list_of_lines_is_refused(api: Api) -> None:
    for wrong in ([], lines(("A", 1), ("A", 1)), lines(*((f"SKU-{number}", 1) for number in range(101)))):
        assert_invalid(await api.client.post("/v1/orders", json={"lines": wrong}), ["body", "lines"])
    assert_invalid(
        await api.client.post("/v1/orders", json={"order_id": None, "lines": lines(("A", 1))}), ["body", "order_id"]
    )


async def test_shipped_lines_stay(api: Api) -> None:
    chair, table = await stocked(api, 10, 10)
    order_id = new("order")
    await api.client.post("/v1/orders", json={"order_id": order_id, "lines": lines((chair, 1), (table, 1))})
    await api.client.post(f"/v1/allocations/{order_id}/{chair}/ship")

    assert [(await api.client.delete(f"/v1/orders/{order_id}")).status_code for _ in range(2)] == [204, 204]

    shown = (await api.client.get(f"/v1/orders/{order_id}")).json()
    assert [(line["sku"], line["status"]) for line in shown["lines"]] == [(chair, "shipped")]


async def test_the_same_order_fifty_times_at_once_is_placed_once(api: Api) -> None:
    chair, table = await stocked(api, 100, 100)
    order_id = new("order")
    bodies = [{"order_id": order_id, "lines": lines((chair, 2), (table, 1))} for _ in range(50)]

    answers = await asyncio.gather(*(api.client.post("/v1/orders", json=body) for body in bodies))

    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]
    assert ((await api.product(chair))["available_qty"], (await api.product(table))["available_qty"]) == (98, 99)


async def test_of_two_orders_with_one_id_and_other_skus_one_wins(api: Api, other_api: Api) -> None:
    chair, table = await stocked(api, 100, 100)

    for _ in range(10):
        order_id = new("order")
        answers = await asyncio.gather(
            api.client.post("/v1/orders", json={"order_id": order_id, "lines": lines((chair, 1))}),
            other_api.client.post("/v1/orders", json={"order_id": order_id, "lines": lines((table, 1))}),
        )

        assert sorted(answer.status_code for answer in answers) == [201, 409]
        assert len(await api.lines(order_id)) == 1


async def test_many_orders_over_shared_skus_in_random_order_never_deadlock(api: Api, other_api: Api) -> None:
    """1,000 orders of 20 lines over 50 SKUs, 64 at a time, at two instances that share no state."""
    skus = await stocked(api, *[300] * 50)
    dice = random.Random(20)
    free = asyncio.Semaphore(64)

    async def place(number: int) -> int:
        body = {"order_id": new("order"), "lines": lines(*((sku, 1) for sku in dice.sample(skus, 20)))}
        async with free:
            caller = (api, other_api)[number % 2]
            return (await caller.client.post("/v1/orders", json=body)).status_code

    codes = await asyncio.gather(*(place(number) for number in range(1000)))

    assert set(codes) == {201}
    products = [await api.product(sku) for sku in skus]
    assert sum(product["allocated_qty"] + product["backordered_qty"] for product in products) == 20_000
    for product in products:
        assert product["allocated_qty"] == min(300, product["allocated_qty"] + product["backordered_qty"])


async def test_a_dry_run_shows_the_outcome_of_each_line_and_stores_nothing(api: Api) -> None:
    chair, table = await stocked(api, 10, 1)
    lamp = new("sku")
    await api.record(lamp, 5, eta="2030-02-01")
    order_id = new("order")
    body = {"order_id": order_id, "lines": lines((chair, 3), (table, 2), (lamp, 5))}

    answer = await api.client.post("/v1/orders?dry_run=true", json=body)

    assert answer.status_code == 200
    seen = answer.json()
    assert [(line["sku"], line["status"], line["reason"]) for line in seen["lines"]] == sorted(
        [
            (chair, "allocated", "in_warehouse"),
            (table, "backordered", "out_of_stock"),
            (lamp, "allocated", "earliest_arrival"),
        ]
    )
    assert (seen["complete"], seen["earliest_eta"]) == (False, None)
    assert await api.lines(order_id) == []
    assert (await api.product(chair))["available_qty"] == 10

    placed = (await api.client.post("/v1/orders", json=body)).json()
    assert [(line["status"], line["batch_ref"]) for line in placed["lines"]] == [
        (line["status"], line["batch_ref"]) for line in seen["lines"]
    ]
    again = await api.client.post("/v1/orders?dry_run=true", json=body)
    assert {line["reason"] for line in again.json()["lines"]} == {"already_accepted"}


async def test_a_dry_run_is_refused_as_the_order_would_be(api: Api) -> None:
    chair, table = await stocked(api, 10, 1)
    order_id = new("order")

    async def look(*wanted: tuple[str, int], **more: object) -> httpx.Response:
        body = {"order_id": order_id, "lines": lines(*wanted), **more}
        return await api.client.post("/v1/orders?dry_run=true", json=body)

    short = assert_problem(await look((chair, 1), (table, 2), if_unavailable="reject"), 409, "out-of-stock")
    assert short["skus"] == [table]
    assert_problem(await look((chair, 1), (new("sku"), 1)), 400, "invalid-sku")
    await api.client.post("/v1/orders", json={"order_id": order_id, "lines": lines((chair, 1))})
    assert_problem(await look((chair, 2)), 409, "order-conflict")
    history = (await api.client.get(f"/v1/products/{table}/history")).json()
    assert [entry["event"] for entry in history["items"]] == ["batch_created.v1"]


async def test_a_thousand_orders_at_once_are_not_refused_as_overload(api: Api) -> None:
    skus = await stocked(api, *[2000] * 20)
    bodies = [{"order_id": new("order"), "lines": lines(*((sku, 1) for sku in skus))} for _ in range(1000)]

    answers = await asyncio.gather(*(api.client.post("/v1/orders", json=body) for body in bodies))

    assert {answer.status_code for answer in answers} == {201}
