"""Lists: their entries, filters and orders."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Api, Json, new
from tests.support.lists import page


async def walk(api: Api, path: str, **query: str | int) -> list[Json]:
    """All items, page by page."""
    found = await page(api, path, **query)
    items: list[Json] = found["items"]
    while found["next_cursor"] is not None:
        found = await page(api, path, **query, cursor=found["next_cursor"])
        assert found["items"], "an empty page follows"
        items += found["items"]
    return items


async def watch(engine: AsyncEngine, sku: str, reorder_point: int) -> None:
    """Set the reorder point of a SKU."""
    async with engine.begin() as connection:
        statement = text("UPDATE products SET reorder_point = :qty WHERE sku = :sku")
        await connection.execute(statement, {"qty": reorder_point, "sku": sku})


@pytest.mark.parametrize("path", ["products", "batches", "backorders"])
async def test_without_entries_a_list_is_empty(own: Api, path: str) -> None:
    assert await page(own, path) == {"items": [], "next_cursor": None, "count": 0, "count_is_exact": True}


async def test_products_are_listed_by_sku_with_what_is_available_and_waited_for(own: Api) -> None:
    await own.record("TABLE", 5)
    await own.record("CHAIR", 10)
    await own.record("CHAIR", 7, eta="2011-01-01")
    await own.record("lamp", 1)
    await own.order("CHAIR", 4)
    await own.order("TABLE", 5)
    await own.order("TABLE", 9)

    summary = {"reorder_point": None, "backordered_qty": 0, "held_qty": 0, "incoming_qty": 0, "next_eta": None}
    assert await page(own, "products") == {
        "items": [
            summary | {"sku": "CHAIR", "available_qty": 13, "incoming_qty": 7, "next_eta": "2011-01-01"},
            summary | {"sku": "TABLE", "available_qty": 0, "backordered_qty": 9},
            summary | {"sku": "lamp", "available_qty": 1},
        ],
        "next_cursor": None,
        "count": 3,
        "count_is_exact": True,
    }


async def test_products_low_on_stock_are_those_below_their_reorder_point(own: Api, own_engine: AsyncEngine) -> None:
    for sku, qty, point in (("A", 5, 6), ("B", 5, 5), ("C", 5, None), ("D", 3, 9), ("E", 1, 1)):
        await own.record(sku, qty)
        if point is not None:
            await watch(own_engine, sku, point)
    await own.order("E", 1)
    await own.order("D", 20)

    low = await page(own, "products", low_stock="true")

    assert [(item["sku"], item["available_qty"], item["reorder_point"]) for item in low["items"]] == [
        ("A", 5, 6),
        ("D", 3, 9),
        ("E", 0, 1),
    ]
    assert (low["count"], low["count_is_exact"]) == (3, True)
    assert [item["sku"] for item in await walk(own, "products", low_stock="true", limit=1)] == ["A", "D", "E"]
    assert [item["sku"] for item in await walk(own, "products", low_stock="true", backordered="true")] == ["D"]
    assert len(await walk(own, "products", low_stock="false", backordered="false")) == 5


async def test_backordered_products_are_those_that_lines_wait_for(own: Api) -> None:
    for sku in "ABC":
        await own.record(sku, 1)
    await own.order("A", 2)
    order = await own.order("C", 2)

    assert [item["sku"] for item in await walk(own, "products", backordered="true", limit=1)] == ["A", "C"]
    await own.cancel(order, "C")
    assert (await page(own, "products", backordered="true"))["count"] == 1


async def test_batches_are_listed_as_they_were_recorded(api: Api) -> None:
    sku = new("sku")
    refs = [await api.record(sku, 1, ref=f"{letter}-{new('batch')}") for letter in "cab"]

    found = await page(api, "batches", sku=sku)

    assert [item["ref"] for item in found["items"]] == refs
    assert found["items"][0] == await api.batch(refs[0]) | {"allocated_lines": 0}
    assert (found["count"], found["count_is_exact"], found["next_cursor"]) == (3, True, None)
    assert [item["ref"] for item in await walk(api, "batches", sku=sku, limit=1)] == refs
    assert (await page(api, "batches", sku=new("sku")))["items"] == []


async def test_batches_of_all_products_follow_each_other(own: Api) -> None:
    recorded = [(sku, await own.record(sku, 1)) for sku in ("B", "A", "B", "A", "C")]

    found = [(item["sku"], item["ref"]) for item in await walk(own, "batches", limit=2)]

    assert found == sorted(recorded, key=lambda pair: pair[0])


async def test_batches_arriving_by_a_day_are_those_on_their_way_until_then(own: Api) -> None:
    etas = [None, "2011-01-01", "2011-01-02", "2011-01-03"]
    _, first, second, _ = [await own.record("A", 1, eta=eta) for eta in etas]
    other = await own.record("B", 1, eta="2011-01-02")

    found = await page(own, "batches", arriving_by="2011-01-02")
    of_one = await walk(own, "batches", arriving_by="2011-01-02", sku="A", limit=1)

    assert ([item["ref"] for item in found["items"]], found["count"]) == ([first, second, other], 3)
    assert [item["ref"] for item in of_one] == [first, second]


async def test_backorders_are_listed_as_they_are_served(own: Api) -> None:
    for sku in "BA":
        await own.record(sku, 1)
    waiting = [(sku, await own.order(sku, 2)) for sku in ("B", "A", "B", "A")]
    await own.order("A", 1)

    everything = [(item["sku"], item["order_id"]) for item in await walk(own, "backorders", limit=1)]
    found = await page(own, "backorders", sku="B")

    assert everything == sorted(waiting, key=lambda pair: pair[0])
    assert found["items"][0].pop("placed_at")
    assert found["items"][0] == (await own.lines(waiting[0][1]))[0]
    assert ([item["order_id"] for item in found["items"]], found["count"]) == ([waiting[0][1], waiting[2][1]], 2)


async def test_backorders_of_a_higher_priority_come_first_except_by_age(own: Api) -> None:
    for sku in "BA":
        await own.record(sku, 1)
        for number, priority in enumerate((5, 2, 9, 9, 5)):
            line = {"order_id": f"{sku}{number}", "sku": sku, "qty": 2, "priority": priority}
            assert (await own.client.post("/v1/allocations", json=line)).status_code == 202
    served, by_age = ["2", "3", "0", "4", "1"], ["0", "1", "2", "3", "4"]

    everything = [item["order_id"] for item in await walk(own, "backorders", limit=2)]
    of_one = [item["order_id"] for item in await walk(own, "backorders", limit=2, sku="B")]
    oldest = [item["order_id"] for item in await walk(own, "backorders", limit=2, sku="B", sort="placed_at")]
    all_oldest = [item["order_id"] for item in await walk(own, "backorders", limit=3, sort="placed_at")]

    assert everything == [f"{sku}{number}" for sku in "AB" for number in served]
    assert of_one == [f"B{number}" for number in served]
    assert oldest == [f"B{number}" for number in by_age]
    assert all_oldest == [f"{sku}{number}" for sku in "BA" for number in by_age]
    await own.record("B", 10)
    assert await walk(own, "backorders", sku="B") == []


async def test_a_line_that_loses_its_batch_waits_at_its_old_place(own: Api) -> None:
    ref = await own.record("A", 5)
    first = await own.order("A", 5)
    second = await own.order("A", 5)
    assert [item["order_id"] for item in await walk(own, "backorders", sku="A")] == [second]

    await own.change(ref, qty=1)

    assert [item["order_id"] for item in await walk(own, "backorders", sku="A")] == [first, second]


async def test_sold_out_products_are_those_without_an_available_piece(own: Api) -> None:
    for sku in "ABC":
        await own.record(sku, 1)
    await own.order("A", 1)
    await own.allocate("C", 1, hold_for=60)

    assert [item["sku"] for item in await walk(own, "products", sold_out="true", limit=1)] == ["A", "C"]
    assert (await page(own, "products", sold_out="true"))["count"] == 2
    assert len(await walk(own, "products", sold_out="false")) == 3


async def test_late_batches_are_those_whose_eta_has_passed(own: Api) -> None:
    today = datetime.now(UTC).date()
    etas = [today + timedelta(days=days) for days in (-1, 0, -2, 1)]
    yesterday, _, before, _ = [await own.record("A", 3, eta=eta.isoformat()) for eta in etas]
    await own.record("A", 1)
    other = await own.record("B", 1, eta="2011-01-01")
    await own.order("B", 1)

    late = await page(own, "batches", late="true")

    assert ([item["ref"] for item in late["items"]], late["count"]) == ([yesterday, before, other], 3)
    assert [item["allocated_lines"] for item in late["items"]] == [0, 0, 1]
    assert [item["ref"] for item in await walk(own, "batches", late="true", sku="A", limit=1)] == [yesterday, before]
    assert [item["ref"] for item in await walk(own, "batches", late="true", arriving_by="2011-02-01")] == [other]


async def test_batches_on_their_way_are_sorted_by_eta(own: Api) -> None:
    await own.record("A", 1)
    first = await own.record("B", 1, eta="2011-01-01")
    third = await own.record("A", 1, eta="2030-01-01")
    second = await own.record("B", 1, eta="2011-01-02")

    assert [item["ref"] for item in await walk(own, "batches", sort="eta", limit=1)] == [first, second, third]
    assert [item["ref"] for item in await walk(own, "batches", sort="eta", sku="B", limit=1)] == [first, second]
    assert [item["ref"] for item in await walk(own, "batches", sort="eta", late="true")] == [first, second]
    by = await page(own, "batches", sort="eta", arriving_by="2011-01-01")
    assert ([item["ref"] for item in by["items"]], by["count"]) == ([first], 1)


async def test_backorders_of_all_products_are_sorted_by_the_time_they_were_placed(
    own: Api, own_engine: AsyncEngine
) -> None:
    for sku in "BAC":
        await own.record(sku, 2)
    kept = await own.order("C", 2)
    waiting = [(sku, await own.order(sku, 3)) for sku in ("B", "A", "B", "A")]

    found = await walk(own, "backorders", sort="placed_at", limit=1)

    assert [(item["sku"], item["order_id"]) for item in found] == waiting
    placed = [datetime.fromisoformat(item["placed_at"]) for item in found]
    assert placed == sorted(placed)
    assert datetime.now(UTC) - placed[0] < timedelta(minutes=5)
    history = (await own.client.get("/v1/products/B/history")).json()["items"]
    first = next(entry for entry in reversed(history) if entry["order_id"] == waiting[0][1])
    assert found[0]["placed_at"] == first["time"]
    assert [item["order_id"] for item in await walk(own, "backorders", sort="placed_at", sku="A", limit=1)] == [
        waiting[1][1],
        waiting[3][1],
    ]

    # A line that was placed before the column existed, and loses its batch now.
    async with own_engine.begin() as connection:
        await connection.execute(text("UPDATE order_lines SET placed_at = 'epoch' WHERE order_id = :id"), {"id": kept})
    batch = await own.batch_of(kept)
    assert batch is not None
    await own.change(batch, qty=0)
    oldest = (await page(own, "backorders", sort="placed_at"))["items"][0]
    assert oldest["order_id"] == kept
    assert oldest["placed_at"] < found[0]["placed_at"]
