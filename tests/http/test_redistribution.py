"""Priorities in the queue, and stock that lines with a low priority give to others, over HTTP."""

from typing import Any

import pytest

from tests.http.test_choice_of_batches import batch, change, place, read
from tests.support.api import Api, assert_invalid, assert_problem, new


async def line(api: Api, order_id: str) -> dict[str, Any]:
    (found,) = (await api.client.get(f"/v1/allocations/{order_id}")).json()
    return dict(found)


async def redistribute(api: Api, sku: str, below: int, *, dry_run: bool = False) -> dict[str, Any]:
    body = {"below": below, "dry_run": True} if dry_run else {"below": below}
    answer = await api.client.post(f"/v1/products/{sku}/redistribute", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def orders(lines: list[dict[str, Any]]) -> list[str]:
    return [each["order_id"] for each in lines]


async def test_the_queue_is_served_by_priority_and_then_by_request(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"a-{sku}", sku, 1)
    await place(api, sku)
    waiting = [(await place(api, sku, **terms))["order_id"] for terms in
               ({}, {"priority": 0}, {"priority": 9}, {"priority": 5}, {"priority": 6}, {})]  # fmt: skip
    served = []
    for number in range(6):
        await change(api, f"a-{sku}", qty=2 + number)
        now = [order_id for order_id in waiting if (await line(api, order_id))["status"] == "allocated"]
        served += [order_id for order_id in now if order_id not in served]
    assert [waiting.index(order_id) for order_id in served] == [2, 4, 0, 3, 5, 1]


async def test_an_arrival_takes_nothing_from_lines_with_a_lower_priority(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"a-{sku}", sku, 5)
    low = await place(api, sku, 5, priority=0)
    assert (await place(api, sku, 5, priority=9))["status"] == "backordered"
    assert (await line(api, low["order_id"]))["status"] == "allocated"


async def test_stock_goes_to_waiting_lines_and_no_line_gives_it_in_vain(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"a-{sku}", sku, 20)
    oldest, large, small = [await place(api, sku, qty, priority=2) for qty in (6, 10, 3)]
    urgent = await place(api, sku, 9, priority=8)
    too_large = await place(api, sku, 30, priority=8)
    assert await redistribute(api, sku, 2) == {"sku": sku, "served": [], "moved": []}
    planned = await redistribute(api, sku, 5, dry_run=True)
    assert (await line(api, urgent["order_id"]))["status"] == "backordered"
    done = await redistribute(api, sku, 5)
    assert (orders(planned["served"]), orders(planned["moved"])) == (orders(done["served"]), orders(done["moved"]))
    # One piece is free. The small line was allocated last, but is not needed once the large one has left.
    assert orders(done["served"]) == [urgent["order_id"]]
    assert [(each["order_id"], each["to_batch_ref"]) for each in done["moved"]] == [(large["order_id"], None)]
    for kept in (oldest, small):
        assert (await line(api, kept["order_id"]))["status"] == "allocated"
    assert (await line(api, too_large["order_id"]))["status"] == "backordered"
    assert await redistribute(api, sku, 5) == {"sku": sku, "served": [], "moved": []}
    history = (await read(api, f"/v1/products/{sku}/history"))["items"]
    assert [each["order_id"] for each in history if each["reason"] == "redistributed"] == [large["order_id"]]


async def test_a_line_that_gives_its_stock_goes_to_another_batch_or_keeps_its_place_in_the_queue(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"berlin-{sku}", sku, 5, location="berlin")
    first = await place(api, sku, 5, priority=1)
    await batch(api, f"paris-{sku}", sku, 5, location="paris")
    later = await place(api, sku, 4, priority=1, **{"from": ["paris"]})
    await batch(api, f"rome-{sku}", sku, 5, location="rome")
    for _ in range(2):
        await place(api, sku, 4, priority=7, **{"from": ["berlin", "paris"]})
    last = await place(api, sku, 4, priority=1, **{"from": ["paris"]})
    done = await redistribute(api, sku, 7)
    moved = {each["order_id"]: each["to_batch_ref"] for each in done["moved"]}
    assert moved == {first["order_id"]: f"rome-{sku}", later["order_id"]: None}
    await batch(api, f"new-{sku}", sku, 4, location="paris")
    assert (await line(api, later["order_id"]))["batch_ref"] == f"new-{sku}"
    assert (await line(api, last["order_id"]))["status"] == "backordered"


async def test_shipped_lines_and_unfit_batches_give_nothing_and_a_hold_ends(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"a-{sku}", sku, 4)
    shipped = await place(api, sku, 2, priority=1)
    assert (await api.client.post(f"/v1/allocations/{shipped['order_id']}/{sku}/ship")).status_code == 200
    held = await place(api, sku, 2, priority=1, hold_for=600)
    await batch(api, f"blocked-{sku}", sku, 4)
    stays = await place(api, sku, 4, priority=1)
    await change(api, f"blocked-{sku}", blocked=True)
    urgent = await place(api, sku, 2, priority=9)
    done = await redistribute(api, sku, 9)
    assert (orders(done["served"]), done["moved"]) == ([urgent["order_id"]], [])
    assert (await api.client.get(f"/v1/allocations/{held['order_id']}")).status_code == 404
    assert (await line(api, stays["order_id"]))["batch_ref"] == f"blocked-{sku}"


@pytest.mark.parametrize("below", [0, 10, "5", None, 1.5])
async def test_the_priority_of_a_redistribution_is_1_to_9(api: Api, below: object) -> None:
    answer = await api.client.post("/v1/products/CHAIR/redistribute", json={"below": below})
    assert_invalid(answer, ["body", "below"])


@pytest.mark.parametrize("priority", [-1, 10, "5", None, 1.5])
async def test_a_priority_is_0_to_9(api: Api, priority: object) -> None:
    body = {"order_id": new("order"), "sku": "CHAIR", "qty": 1, "priority": priority}
    assert_invalid(await api.client.post("/v1/allocations", json=body), ["body", "priority"])


async def test_stock_of_an_unknown_product_cannot_be_redistributed(api: Api) -> None:
    answer = await api.client.post(f"/v1/products/{new('sku')}/redistribute", json={"below": 5})
    assert_problem(answer, 404, "product-not-found")
