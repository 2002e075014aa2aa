"""What was decided today, what to buy first, and the lines of a batch."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.read_model import activity
from tests.support.api import Api, Json, assert_problem

NAMES = ("allocations", "backorders", "arrivals")


async def read(api: Api, path: str) -> Json:
    answer = await api.client.get(path)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def trade(api: Api) -> None:
    """A batch in the warehouse, one on its way that arrives, two allocations and a backorder."""
    await api.record("CHAIR", 10, ref="chairs-1")
    await api.record("CHAIR", 5, ref="chairs-2", eta="2030-01-01")
    await api.change("chairs-2", eta=None)
    for order, qty in (("order-1", 4), ("order-2", 2), ("order-3", 40)):
        await api.order("CHAIR", qty, order_id=order)


async def test_an_empty_service_has_hours_without_events(own: Api) -> None:
    found = await read(own, "/v1/activity")
    assert (found["newest"], found["hours_are_complete"]) == ([], True)
    now = datetime.fromisoformat(found["time"])
    hours = [datetime.fromisoformat(hour["time"]) for hour in found["hours"]]
    assert [hour.hour for hour in hours] == list(range(now.astimezone(UTC).hour + 1))
    assert all(hour[name] == 0 for hour in found["hours"] for name in NAMES)


async def test_counts_what_was_decided_this_hour_and_not_what_was_yesterday(own: Api, own_engine: AsyncEngine) -> None:
    await trade(own)
    async with own_engine.begin() as connection:
        await connection.execute(text("UPDATE events SET created_at = created_at - interval '1 day'"))
    assert all(hour[name] == 0 for hour in (await read(own, "/v1/activity"))["hours"] for name in NAMES)
    await own.record("TABLE", 3)
    await own.order("TABLE", 3)
    await own.order("TABLE", 1)

    found = await read(own, "/v1/activity")

    # The hour may have changed since.
    assert [sum(hour[name] for hour in found["hours"]) for name in NAMES] == [1, 1, 1]
    assert [found["hours"][-1][name] for name in NAMES] in ([1, 1, 1], [0, 1, 0], [0, 1, 1], [1, 1, 0], [0, 0, 0])


async def test_a_batch_arrives_when_it_is_in_the_warehouse(own: Api) -> None:
    await trade(own)
    found = await read(own, "/v1/activity")
    assert [sum(hour[name] for hour in found["hours"]) for name in NAMES] == [2, 1, 2]


async def test_the_newest_decisions_say_which_product_and_why(own: Api) -> None:
    await trade(own)
    await own.change("chairs-1", qty=5, reason="damaged", reference="report-17")

    newest = (await read(own, "/v1/activity"))["newest"]

    assert {each["sku"] for each in newest} == {"CHAIR"}
    assert [each["event"] for each in newest[-4:]] == [
        "line_allocated.v1",
        "batch_eta_changed.v1",
        "batch_created.v1",
        "batch_created.v1",
    ]
    # What follows from another event of the same line is left out.
    assert "out_of_stock.v1" not in {each["event"] for each in newest}
    (cut,) = [each for each in newest if each["event"] == "batch_quantity_changed.v1"]
    assert (cut["batch_ref"], cut["reason"], cut["reference"]) == ("chairs-1", "damaged", "report-17")
    history = (await read(own, "/v1/products/CHAIR/history"))["items"]
    assert all({name: value for name, value in each.items() if name != "sku"} in history for each in newest)


async def test_hours_before_the_limit_are_not_in_the_list(
    own: Api, own_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement = str(activity._HOURS).replace(str(activity.EXAMINED_LIMIT), "3")
    monkeypatch.setattr(activity, "_HOURS", text(statement))
    monkeypatch.setattr(activity, "EXAMINED_LIMIT", 3)
    await trade(own)

    found = await read(own, "/v1/activity")

    assert not found["hours_are_complete"]
    assert len(found["hours"]) == 1
    assert found["hours"][0]["backorders"] == 1


async def test_an_hour_that_is_over_is_counted_once(own: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def allocations() -> int:
        return sum(hour["allocations"] for hour in (await read(own, "/v1/activity"))["hours"])

    await own.record("CHAIR", 10)
    await own.order("CHAIR", 1)
    assert await allocations() == 1
    await own.order("CHAIR", 1)
    assert await allocations() == 2
    # As if the present hour had ended long ago.
    monkeypatch.setattr(activity, "SETTLED", timedelta(hours=-2))
    assert await allocations() == 2
    await own.order("CHAIR", 1)
    assert await allocations() == 2
    found = await read(own, "/v1/activity")
    assert found["hours_are_complete"]
    assert len(found["hours"]) == datetime.fromisoformat(found["time"]).astimezone(UTC).hour + 1


async def test_what_to_buy_first_is_what_most_pieces_wait_for(own: Api) -> None:
    for sku, waiting in (("A", 2), ("B", 9), ("C", 0), ("D", 0), ("E", 0)):
        await own.record(sku, 1)
        if waiting:
            await own.order(sku, waiting)
    await own.watch("C", 4)
    await own.watch("D", 9)
    await own.watch("E", 1)
    await own.record("B", 3, eta="2030-01-01")

    found = await read(own, "/v1/shortages")

    assert [item["sku"] for item in found["items"]] == ["B", "A", "D", "C"]
    assert (found["count"], found["count_is_exact"], found["next_cursor"]) == (4, True, None)
    assert [found["items"][0][name] for name in ("backordered_qty", "incoming_qty", "next_eta")] == [9, 3, "2030-01-01"]
    assert [item["sku"] for item in (await read(own, "/v1/shortages?limit=3"))["items"]] == ["B", "A", "D"]
    listed = (await read(own, "/v1/products"))["items"]
    assert all(item in listed for item in found["items"])


async def test_nothing_to_buy(own: Api) -> None:
    assert await read(own, "/v1/shortages") == {"items": [], "next_cursor": None, "count": 0, "count_is_exact": True}


async def test_the_lines_of_a_batch_are_those_that_wait_for_it(own: Api) -> None:
    yesterday = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
    await own.record("CHAIR", 10, ref="late", eta=yesterday)
    await own.record("TABLE", 10, ref="tables")
    orders = [await own.order("CHAIR", 1, order_id=f"order-{number}") for number in (3, 1, 2)]
    await own.allocate("CHAIR", 1, order_id="held", hold_for=600)
    await own.order("CHAIR", 50)
    await own.order("TABLE", 1)
    shipped = await own.order("CHAIR", 1)
    assert (await own.client.post(f"/v1/allocations/{shipped}/CHAIR/ship")).status_code == 200

    found = await read(own, "/v1/batches/late/lines")

    assert [item["order_id"] for item in found["items"]] == [*orders, "held"]
    assert found["items"][0] == (await own.lines("order-3"))[0]
    assert (found["count"], found["next_cursor"]) == (4, None)
    first = await read(own, "/v1/batches/late/lines?limit=3")
    rest = await read(own, f"/v1/batches/late/lines?limit=3&cursor={first['next_cursor']}")
    assert first["items"] + rest["items"] == found["items"]
    assert_problem(await own.client.get("/v1/batches/none/lines"), 404, "batch-not-found")


async def test_the_newest_changes_of_batches_are_found_behind_any_number_of_other_events(own: Api) -> None:
    await own.record("CHAIR", 100, ref="chairs-1")
    await own.change("chairs-1", qty=90, reason="damaged", reference="report-17")
    await own.change("chairs-1", blocked=True)
    await own.change("chairs-1", blocked=False)
    items = [{"order_id": f"order-{number}", "sku": "CHAIR", "qty": 1} for number in range(60)]
    for _ in range(10):
        await own.client.post("/v1/allocations/bulk", json={"items": items})
        for item in items:
            await own.client.delete(f"/v1/allocations/{item['order_id']}/CHAIR")

    changes = (await read(own, "/v1/activity"))["changes"]

    assert [(each["event"], each["sku"], each["batch_ref"], each["reason"]) for each in changes] == [
        ("batch_changed.v1", "CHAIR", "chairs-1", None),
        ("batch_changed.v1", "CHAIR", "chairs-1", None),
        ("batch_quantity_changed.v1", "CHAIR", "chairs-1", "damaged"),
    ]
