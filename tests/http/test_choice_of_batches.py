"""Which batch a line gets: places, shelf life and blocking, over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.api import Api, assert_invalid, assert_problem, new

TODAY = datetime.now(UTC).date()


def day(distance: int) -> str:
    return (TODAY + timedelta(days=distance)).isoformat()


async def batch(api: Api, ref: str, sku: str, qty: int = 10, **terms: Any) -> dict[str, Any]:
    answer = await api.client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": qty, **terms})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def place(api: Api, sku: str, qty: int = 1, **terms: Any) -> dict[str, Any]:
    body = {"order_id": new("order"), "sku": sku, "qty": qty, **terms}
    answer = await api.client.post("/v1/allocations", json=body)
    assert answer.status_code in {201, 202}, answer.text
    return dict(answer.json())


async def change(api: Api, ref: str, **changes: Any) -> dict[str, Any]:
    answer = await api.client.patch(f"/v1/batches/{ref}", json=changes)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def read(api: Api, path: str, **parameters: Any) -> dict[str, Any]:
    answer = await api.client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_batch_without_terms_is_shown_as_before(api: Api) -> None:
    ref = new("batch")
    made = await batch(api, ref, new("sku"))
    assert set(made) == {
        "ref", "sku", "qty", "eta", "allocated_qty", "shipped_qty", "available_qty", "held_qty"
    }  # fmt: skip


async def test_the_terms_of_a_batch_are_shown_and_recognised_when_it_is_recorded_again(api: Api) -> None:
    ref, sku = new("batch"), new("sku")
    terms: dict[str, Any] = {"location": "berlin", "best_before": day(30), "blocked": True}
    made = await batch(api, ref, sku, **terms)
    assert {name: made[name] for name in terms} == terms
    assert made["available_qty"] == 0
    assert await read(api, f"/v1/batches/{ref}") == made
    await change(api, ref, location="paris", best_before=None, blocked=False)
    body = {"ref": ref, "sku": sku, "qty": 10, **terms}
    again = await api.client.post("/v1/batches", json=body)
    assert (again.status_code, again.json()["location"]) == (200, "paris")
    other = await api.client.post("/v1/batches", json={**body, "location": "paris"})
    assert_problem(other, 409, "batch-conflict")


async def test_goods_that_expire_first_are_allocated_first(api: Api) -> None:
    sku = new("sku")
    for ref, distance in (("late", 30), ("soon", 3), ("middle", 9)):
        await batch(api, f"{ref}-{sku}", sku, 1, best_before=day(distance))
    await batch(api, f"never-{sku}", sku, 1)
    refs = [(await place(api, sku))["batch_ref"] for _ in range(4)]
    assert refs == [f"{name}-{sku}" for name in ("soon", "middle", "late", "never")]


async def test_the_first_location_that_can_hold_the_line_serves_it(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"berlin-{sku}", sku, 2, location="berlin")
    await batch(api, f"paris-{sku}", sku, 5, location="paris", eta=day(7))
    await batch(api, f"rome-{sku}", sku, 50, location="rome")
    assert (await place(api, sku, 1, **{"from": ["paris", "berlin"]}))["batch_ref"] == f"paris-{sku}"
    assert (await place(api, sku, 5, **{"from": ["paris", "rome"]}))["batch_ref"] == f"rome-{sku}"
    assert (await place(api, sku, 9, **{"from": ["paris", "berlin"]}))["status"] == "backordered"
    assert (await place(api, sku, 1))["batch_ref"] == f"berlin-{sku}"


async def test_an_empty_list_of_locations_means_all(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"oslo-{sku}", sku, 5, location="oslo")
    body = {"order_id": new("order"), "sku": sku, "qty": 1, "from": []}
    assert (await api.client.post("/v1/allocations", json=body)).json()["batch_ref"] == f"oslo-{sku}"
    left_out = {name: value for name, value in body.items() if name != "from"}
    assert (await api.client.post("/v1/allocations", json=left_out)).status_code == 200


async def test_a_location_that_is_named_twice_counts_once(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"oslo-{sku}", sku, 5, location="oslo")
    await batch(api, f"rome-{sku}", sku, 5, location="rome")
    body = {"order_id": new("order"), "sku": sku, "qty": 1, "from": ["rome", "oslo", "rome"]}
    assert (await api.client.post("/v1/allocations", json=body)).json()["batch_ref"] == f"rome-{sku}"
    body["from"] = ["rome", "oslo"]
    assert (await api.client.post("/v1/allocations", json=body)).status_code == 200


async def test_a_line_gets_goods_that_are_good_for_as_long_as_it_needs(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"short-{sku}", sku, best_before=day(3))
    await batch(api, f"long-{sku}", sku, best_before=day(30), eta=day(1))
    assert (await place(api, sku, good_until=day(3)))["batch_ref"] == f"short-{sku}"
    assert (await place(api, sku, good_until=day(4)))["batch_ref"] == f"long-{sku}"
    assert (await place(api, sku, good_until=day(31)))["status"] == "backordered"


async def test_goods_are_good_through_their_last_day_and_have_expired_on_the_next(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"today-{sku}", sku, best_before=day(0))
    await batch(api, f"yesterday-{sku}", sku, best_before=day(-1))
    assert (await place(api, sku, 10))["batch_ref"] == f"today-{sku}"
    assert (await place(api, sku, 1))["status"] == "backordered"
    product = await read(api, f"/v1/products/{sku}")
    assert [each["available_qty"] for each in product["batches"]] == [0, 0]
    assert product["available_qty"] == 0


async def test_a_batch_that_has_expired_serves_nothing_when_it_is_named(api: Api) -> None:
    sku = new("sku")
    ref = f"old-{sku}"
    made = await batch(api, ref, sku, 10, best_before="2020-01-01")
    waits = await place(api, sku, 3)
    changed = await change(api, ref, qty=11)
    again = await api.client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": 10, "best_before": "2020-01-01"})
    assert [each["available_qty"] for each in (made, changed, again.json())] == [0, 0, 0]
    (now,) = (await api.client.get(f"/v1/allocations/{waits['order_id']}")).json()
    assert now["status"] == "backordered"
    history = (await read(api, f"/v1/products/{sku}/history"))["items"]
    assert "back_in_stock.v1" not in {each["event"] for each in history}


async def test_nothing_is_allocated_from_a_blocked_batch_and_unblocking_serves_the_queue(api: Api) -> None:
    sku = new("sku")
    ref = f"blocked-{sku}"
    await batch(api, ref, sku)
    stays = await place(api, sku, 4)
    await change(api, ref, blocked=True)
    waits = await place(api, sku, 2)
    assert waits["status"] == "backordered"
    unfit = (await read(api, "/v1/batches", sku=sku, unfit="true"))["items"]
    assert [each["ref"] for each in unfit] == [ref]
    lines = (await read(api, f"/v1/batches/{ref}/lines"))["items"]
    assert [each["order_id"] for each in lines] == [stays["order_id"]]
    await change(api, ref, blocked=False)
    (now,) = (await api.client.get(f"/v1/allocations/{waits['order_id']}")).json()
    assert (now["status"], now["batch_ref"]) == ("allocated", ref)
    assert (await read(api, "/v1/batches", sku=sku, unfit="true"))["items"] == []


@pytest.mark.parametrize(
    ("terms", "changes"),
    [
        ({"location": "rome"}, {"location": "berlin"}),
        ({"best_before": day(-1)}, {"best_before": day(9)}),
        ({"best_before": day(3)}, {"best_before": None}),
        ({"blocked": True}, {"blocked": False}),
    ],
)
async def test_whatever_makes_a_batch_eligible_serves_the_queue(
    api: Api, terms: dict[str, Any], changes: dict[str, Any]
) -> None:
    sku = new("sku")
    await batch(api, f"b-{sku}", sku, **terms)
    waits = await place(api, sku, 2, **{"from": ["main", "berlin"], "good_until": day(5)})
    assert waits["status"] == "backordered"
    await change(api, f"b-{sku}", **changes)
    (now,) = (await api.client.get(f"/v1/allocations/{waits['order_id']}")).json()
    assert now["batch_ref"] == f"b-{sku}"


async def test_blocking_with_reallocate_moves_every_line_that_another_batch_can_hold(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"bad-{sku}", sku, 10)
    first, second, third = [await place(api, sku, qty) for qty in (3, 2, 3)]
    held = await place(api, sku, 2, hold_for=600)
    await batch(api, f"good-{sku}", sku, 5)
    changed = await change(api, f"bad-{sku}", blocked=True, reallocate=True)
    moved = {each["order_id"]: each["to_batch_ref"] for each in changed["moved"]}
    good = f"good-{sku}"
    assert moved == {first["order_id"]: good, second["order_id"]: good, third["order_id"]: None}
    assert (await api.client.get(f"/v1/orders/{held['order_id']}")).status_code == 404
    assert changed["allocated_qty"] == 0
    again = await change(api, f"bad-{sku}", blocked=True, reallocate=True)
    assert again["moved"] == []


async def test_a_late_batch_gives_a_line_only_to_what_the_line_would_rather_have(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"berlin-{sku}", sku, location="berlin", eta=day(2))
    line = await place(api, sku, 1, **{"from": ["berlin", "paris"]})
    other = await place(api, sku, 1, **{"from": ["paris", "berlin"]})
    await batch(api, f"paris-{sku}", sku, location="paris", eta=day(5))
    changed = await change(api, f"berlin-{sku}", eta=day(9), reallocate=True)
    # Berlin stays the first choice of the one line, rank before date; Paris is that of the other.
    assert [each["order_id"] for each in changed["moved"]] == [other["order_id"]]
    (now,) = (await api.client.get(f"/v1/allocations/{line['order_id']}")).json()
    assert now["batch_ref"] == f"berlin-{sku}"


async def test_availability_asks_the_same_question_as_an_allocation(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"a-{sku}", sku, 5, location="rome", best_before=day(5))
    await batch(api, f"b-{sku}", sku, 9, location="oslo", best_before=day(50))
    every: list[dict[str, Any]] = [{}, {"from": ["oslo"]}, {"good_until": day(6)}]
    for terms in [*every, {"from": ["rome", "bonn"], "good_until": day(6)}]:
        query = {**terms, "from": ",".join(terms["from"])} if "from" in terms else terms
        asked = await read(api, f"/v1/products/{sku}/availability", qty=1, **query)
        got = await place(api, sku, 1, **terms)
        assert asked["batch_ref"] == got["batch_ref"]


async def test_a_dry_run_says_why_each_batch_was_passed_over(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"blocked-{sku}", sku, 50, location="oslo", blocked=True)
    await batch(api, f"old-{sku}", sku, 50, location="oslo", best_before=day(-1))
    await batch(api, f"soon-{sku}", sku, 50, location="oslo", best_before=day(1))
    await batch(api, f"small-{sku}", sku, 2, location="oslo", best_before=day(9))
    await batch(api, f"fits-{sku}", sku, 9, location="oslo")
    await batch(api, f"rome-{sku}", sku, 50, location="rome")
    body = {"order_id": new("order"), "sku": sku, "qty": 5, "from": ["oslo"], "good_until": day(5)}
    answer = await api.client.post("/v1/allocations", params={"dry_run": "true"}, json=body)
    preview = answer.json()
    assert preview["batch_ref"] == f"fits-{sku}"
    reasons = {each["batch_ref"].partition("-")[0]: each["reason"] for each in preview["passed_over"]}
    assert reasons == {
        "blocked": "blocked", "old": "expired", "soon": "expired", "small": "too_small", "rome": "elsewhere"
    }  # fmt: skip
    order = {
        "order_id": body["order_id"],
        "lines": [{name: body[name] for name in ("sku", "qty", "from", "good_until")}],
    }
    of_order = await api.client.post("/v1/orders", params={"dry_run": "true"}, json=order)
    assert of_order.json()["lines"][0]["passed_over"] == preview["passed_over"]


async def test_the_same_line_with_other_requirements_is_a_conflict(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"b-{sku}", sku, location="oslo")
    body = {"order_id": new("order"), "sku": sku, "qty": 1, "from": ["oslo"]}
    assert (await api.client.post("/v1/allocations", json=body)).status_code == 201
    assert (await api.client.post("/v1/allocations", json=body)).status_code == 200
    left_out = {name: value for name, value in body.items() if name != "from"}
    assert (await api.client.post("/v1/allocations", json=left_out)).status_code == 200
    assert_problem(
        await api.client.post("/v1/allocations", json={**body, "from": ["rome"]}), 409, "allocation-conflict"
    )
    order = {"order_id": new("order"), "lines": [{"sku": sku, "qty": 1, "from": ["oslo"]}]}
    assert (await api.client.post("/v1/orders", json=order)).status_code == 201
    assert (await api.client.post("/v1/orders", json=order)).status_code == 200
    order["lines"] = [{"sku": sku, "qty": 1, "from": ["rome"]}]
    assert_problem(await api.client.post("/v1/orders", json=order), 409, "order-conflict")


async def test_who_got_goods_of_a_recalled_batch(api: Api) -> None:
    sku = new("sku")
    await batch(api, f"b-{sku}", sku, 10)
    lines = [await place(api, sku) for _ in range(5)]
    for line in lines[:3]:
        assert (await api.client.post(f"/v1/allocations/{line['order_id']}/{sku}/ship")).status_code == 200
    got, cursor = [], None
    while True:
        page = await read(
            api, f"/v1/batches/b-{sku}/lines", shipped="true", limit=2, **({"cursor": cursor} if cursor else {})
        )
        got += [each["order_id"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert got == [line["order_id"] for line in lines[:3]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"from": [f"l{number}" for number in range(17)]}, "from"),
        ({"from": "berlin"}, "from"),
        ({"from": None}, "from"),
        ({"from_locations": ["berlin"]}, "from_locations"),
        ({"good_until": "tomorrow"}, "good_until"),
        ({"good_until": None}, "good_until"),
    ],
)
async def test_requirements_that_cannot_be_understood(api: Api, body: dict[str, Any], field: str) -> None:
    line = {"order_id": new("order"), "sku": "CHAIR", "qty": 1}
    answer = await api.client.post("/v1/allocations", json={**line, **body})
    assert_invalid(answer, ["body", field])
