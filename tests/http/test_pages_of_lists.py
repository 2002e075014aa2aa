"""Pages of lists: complete and stable under writes, with a bounded count and cursors that belong to one list."""

import base64
import json

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Api, assert_invalid
from tests.support.lists import page


async def test_the_cursor_of_another_order_is_refused(own: Api) -> None:
    await own.record("A", 1)
    for _ in range(2):
        await own.order("A", 2)
        await own.record("A", 1, eta="2011-01-01")
    for path, sort in (("backorders", "placed_at"), ("batches", "eta")):
        cursor = (await page(own, path, limit=1))["next_cursor"]
        other = (await page(own, path, limit=1, sort=sort))["next_cursor"]
        assert_invalid(await own.client.get(f"/v1/{path}", params={"cursor": other}), ["query", "cursor"])
        response = await own.client.get(f"/v1/{path}", params={"cursor": cursor, "sort": sort})
        assert_invalid(response, ["query", "cursor"])
        assert_invalid(await own.client.get(f"/v1/{path}", params={"sort": "size"}), ["query", "sort"])


@pytest.mark.parametrize("limit", [1, 3])
async def test_entries_that_stay_are_listed_once_despite_writes(own: Api, limit: int) -> None:
    staying = [f"S-{number}" for number in range(10)]
    for sku in staying:
        await own.record(sku, 1)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for turn in range(100):
        found = await page(own, "products", limit=limit, **cursor)
        seen += [item["sku"] for item in found["items"]]
        if found["next_cursor"] is None:
            break
        cursor = {"cursor": found["next_cursor"]}
        await own.record(f"A-{turn}", 1)  # before what has been shown
        await own.order(staying[turn % 10], 1)

    assert seen == staying


async def test_backorders_that_leave_do_not_hide_others(own: Api) -> None:
    await own.record("A", 1)
    orders = [await own.order("A", 2) for _ in range(6)]
    first = await page(own, "backorders", sku="A", limit=2)
    for gone in (orders[0], orders[1], orders[2]):
        await own.cancel(gone, "A")

    second = await page(own, "backorders", sku="A", limit=2, cursor=first["next_cursor"])

    assert [item["order_id"] for item in second["items"]] == orders[3:5]


async def test_a_long_list_is_counted_up_to_a_bound(own: Api, own_engine: AsyncEngine) -> None:
    async with own_engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO products (sku, sequence, reorder_point) "
                "SELECT 'S-' || n, 1, 5 FROM generate_series(1, 10000) n"
            )
        )
    for more, expected in ((0, (10_000, True)), (1, (10_000, False))):
        for number in range(more):
            await own.record(f"MORE-{number}", 1)
        found = await page(own, "products", limit=1)
        assert (found["count"], found["count_is_exact"]) == expected
    low = await page(own, "products", limit=200, low_stock="true")
    assert (low["count"], low["count_is_exact"], len(low["items"])) == (10_000, True, 200)


def cursor_of(**content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


ALL_PRODUCTS = {"low_stock": "False", "backordered": "False"}


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "ä",
        "e30=",
        "e30",
        "bm8ganNvbg",
        "a" * 1_999,
        cursor_of(v=1, of="products", filter=ALL_PRODUCTS, after=[]),
        cursor_of(v=1, of="products", filter=ALL_PRODUCTS, after=[1]),
        cursor_of(v=1, of="products", filter=ALL_PRODUCTS, after=["\x00"]),
        cursor_of(v=1, of="products", filter=ALL_PRODUCTS, after=["A", 1]),
        cursor_of(v=2, of="products", filter=ALL_PRODUCTS, after=["A"]),
        cursor_of(v=1, of="products", filter={}, after=["A"]),
        cursor_of(v=1, of="batches", filter=ALL_PRODUCTS, after=["A"]),
        cursor_of(v=1, of="products", filter=ALL_PRODUCTS, after=["A"], more=1),
    ],
)
async def test_an_invalid_cursor_is_refused(api: Api, cursor: str) -> None:
    assert_invalid(await api.client.get("/v1/products", params={"cursor": cursor}), ["query", "cursor"])


@pytest.mark.parametrize("position", [-1, 2**63, 1.5, "1", True, None])
async def test_a_cursor_to_nowhere_is_refused(api: Api, position: object) -> None:
    cursor = cursor_of(v=1, of="backorders", filter={"sku": None}, after=["A", position])
    assert_invalid(await api.client.get("/v1/backorders", params={"cursor": cursor}), ["query", "cursor"])


async def test_a_cursor_is_valid_only_for_its_list_and_filter(own: Api) -> None:
    for sku in "AB":
        await own.record(sku, 1, eta="2011-01-01")
        await own.record(sku, 1, eta="2011-01-01")
    given = (await page(own, "batches", sku="A", limit=1))["next_cursor"]
    for path in ("batches", "batches?sku=B", "batches?sku=A&arriving_by=2011-01-01", "backorders?sku=A", "products"):
        more = f"{'&' if '?' in path else '?'}cursor={given}"
        assert_invalid(await own.client.get(f"/v1/{path}{more}"), ["query", "cursor"])
    # A page of another size belongs to the same list.
    assert len((await page(own, "batches", sku="A", limit=200, cursor=given))["items"]) == 1
