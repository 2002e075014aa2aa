"""The pages of the board without a browser: content, escaping and files."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from tests.http.test_asyncapi_page import Page
from tests.support.api import Api, assert_problem, bearer, new
from tests.support.keys import add_key

HTML = {"Accept": "text/html,application/xhtml+xml"}
CHARACTERS = "a.B_9:-z"


async def get(api: Api, path: str) -> httpx.Response:
    response = await api.client.get(f"/board{path}", headers=HTML)
    assert response.status_code == 200, response.text
    return response


async def text_of(api: Api, path: str) -> str:
    return re.sub(r"\s+", " ", Page((await get(api, path)).text).text)


async def rows(api: Api, path: str) -> list[dict[str, str]]:
    response = await api.client.get(f"/board{path}")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.text)))


async def test_pages_load_nothing_from_other_origins_and_are_not_stored(own: Api) -> None:
    await own.record("A", 1, ref="batch-a")
    await own.order("A", 1, order_id="order-1")
    for path in (
        "",
        "/products",
        "/shortages",
        "/backorders",
        "/batches",
        "/batches/batch-a",
        "/products/A",
        "/orders/order-1",
        "/search?q=A",
    ):
        response = await get(own, path)
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "same-origin"
        assert all(link.startswith(("/board", "#")) for link in Page(response.text).links)
        assert " style=" not in response.text
        assert (await own.client.head(f"/board{path}")).status_code == 200
    for name in ("board.css", "board.js", "icon.svg"):
        assert (await own.client.get(f"/board/static/{name}")).status_code == 200
    assert (await own.client.get("/board/static/base.html")).status_code == 404


async def test_the_overview_links_to_the_lists_behind_its_counts(own: Api) -> None:
    yesterday = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
    await own.record("LOW", 5)
    await own.watch("LOW", 6)
    await own.record("OUT", 1)
    await own.order("OUT", 1)
    await own.order("OUT", 2, order_id="waiting")
    await own.record("LATE", 3, eta=yesterday, ref="late-one")

    page = Page((await get(own, "")).text)
    shown = re.sub(r"\s+", " ", page.text)

    assert "1 Products low on stock" in shown
    assert "1 Products sold out" in shown
    assert "1 Late batches" in shown
    assert "1 Backorders of the last day" in shown
    for link, item in (
        ("/board/products?low_stock=true", "LOW"),
        ("/board/products?sold_out=true", "OUT"),
        ("/board/batches?late=true", "late-one"),
        ("/board/backorders", "waiting"),
    ):
        assert link in page.links
        assert item in await text_of(own, link.removeprefix("/board"))
    assert "yesterday" in await text_of(own, "/batches?late=true")
    assert "LATE" not in await text_of(own, "/products?sold_out=true")


async def test_the_page_of_a_product_has_its_batches_queue_and_history(own: Api) -> None:
    await own.record("CHAIR", 10, ref="chairs-1")
    await own.order("CHAIR", 4, order_id="order-1")
    await own.allocate("CHAIR", 3, order_id="order-2", hold_for=600)
    await own.order("CHAIR", 20, order_id="order-3")
    await own.client.patch("/v1/batches/chairs-1", json={"qty": 9, "reason": "damaged", "reference": "report-17"})

    response = await get(own, "/products/CHAIR")
    shown = re.sub(r"\s+", " ", Page(response.text).text)

    # The highest bar, of 130 units, is the batch of nine pieces: four allocated, three held, two free.
    heights = dict(re.findall(r'<rect class="(\w+)"[^>]* height="(\d+\.\d+)"', response.text))
    assert heights == {"allocated": "57.78", "held": "43.33", "free": "28.89"}
    for part in ("order-3", "line backordered", "line held", "damaged (report-17)"):
        assert part in shown
    assert (await own.client.get("/board/products/none", headers=HTML)).status_code == 404
    assert "No product has this SKU" in (await own.client.get("/board/products/none", headers=HTML)).text
    assert_problem(await own.client.get("/board/products/none"), 404, "product-not-found")


async def test_the_page_of_an_order_shows_its_lines_and_what_put_them_there(own: Api) -> None:
    order_id = f"order-{CHARACTERS}"
    await own.record("A", 5, ref="batch-a")
    await own.record("B", 1)
    lines = [{"sku": "A", "qty": 2}, {"sku": "B", "qty": 3}]
    assert (await own.client.post("/v1/orders", json={"order_id": order_id, "lines": lines})).status_code == 201
    await own.client.post(f"/v1/allocations/{order_id}/A/ship")

    shown = await text_of(own, f"/orders/{order_id}")

    assert order_id in shown
    for part in ("batch-a", "backordered", "line allocated", "line shipped"):
        assert part in shown
    assert "/board/batches/batch-a" in Page((await get(own, f"/orders/{order_id}")).text).links


async def test_the_page_of_an_order_says_what_moved_its_line(own: Api) -> None:
    await own.record("A", 5, ref="first")
    await own.record("A", 5, ref="second", eta="2030-01-01")
    await own.order("A", 4, order_id="order-1")
    await own.order("A", 1, order_id="order-2")
    await own.change("first", qty=1, reason="damaged")
    await own.change("second", qty=2, reason="lost")

    events = (await text_of(own, "/orders/order-1")).partition("How the lines came here")[2]

    # Backordered at last; before that, each batch and the reason for which the line left it.
    kinds = re.findall("line (?:allocated|deallocated|backordered)", events)
    moves = ["line backordered", "line deallocated", "line allocated"]
    assert kinds == [*moves, "line deallocated", "line allocated"]
    assert events.count("batch quantity changed") == 2
    assert "order-2" not in events


async def test_the_page_of_a_late_batch_has_the_orders_that_wait_and_who_changed_it(keyed: Api, key_file: Path) -> None:
    buyer = bearer(add_key(key_file, "ana", ["read", "stock:write", "orders:write"]))
    keyed.client.headers.update(buyer)
    sku, ref, order = new("sku"), new("batch"), new("order")
    await keyed.record(sku, 9, ref=ref, eta="2030-01-01")
    await keyed.record(sku, 1, eta="2030-01-01")
    await keyed.order(sku, 5, order_id=order)
    await keyed.change(ref, qty=7, reason="damaged", reference="report-17")
    await keyed.change(ref, eta="2011-01-01")
    late = Page((await get(keyed, "/batches?late=true")).text)

    assert f"/board/batches/{ref}#orders" in late.links
    page = Page((await get(keyed, f"/batches/{ref}")).text)
    shown = re.sub(r"\s+", " ", page.text)

    assert {f"/board/orders/{order}", f"/board/products/{sku}"} <= set(page.links)
    assert "– late" in shown
    assert "1 line allocated or held" in shown
    for part in ("batch quantity changed", "damaged (report-17)", "ana", "batch created"):
        assert part in shown
    # The other batch of the product and the line are not changes of this batch.
    changes = shown.partition("Changes of the batch")[2]
    assert "9 → 7" in changes
    assert "one is late: it was expected on" in await text_of(keyed, f"/orders/{order}")
    overview = (await text_of(keyed, "")).partition("Changes of batches")[2].partition("Newest decisions")[0]
    assert f"batch quantity changed {sku} {ref} → 7" in overview
    assert "damaged (report-17) ana" in overview
    assert (changes.count("batch created"), changes.count("line allocated")) == (1, 0)
    assert [row["order_id"] for row in await rows(keyed, f"/batches/{ref}/allocations.csv")] == [order]
    assert (await keyed.client.get("/board/batches/none", headers=HTML)).status_code == 404
    assert_problem(await keyed.client.get("/board/batches/none/allocations.csv"), 404, "batch-not-found")


async def test_the_overview_shows_what_to_buy_first_and_what_was_decided_today(own: Api) -> None:
    for sku, waiting in (("FEW", 2), ("MANY", 30)):
        await own.record(sku, 1)
        await own.order(sku, waiting, order_id=f"order-{sku}")
    await own.record("LOW", 1)
    await own.watch("LOW", 5)

    response = await get(own, "")
    shown = re.sub(r"\s+", " ", Page(response.text).text)

    first = shown.partition("Buy first")[2]
    assert 0 < first.index("MANY") < first.index("FEW") < first.index("LOW") < first.index("Oldest backorders")
    assert [row["sku"] for row in await rows(own, "/shortages.csv")] == ["MANY", "FEW", "LOW"]
    assert "MANY 30 29 1 0 0 none none" in await text_of(own, "/shortages")
    assert "LOW 0 4 1 0 0 none 5" in shown
    for part in ("Allocations: 0", "Backorders: 2, at most 2 an hour", "Batches received: 3, at most 3 an hour"):
        # The hour may have changed since.
        assert part in shown or datetime.now(UTC).minute < 1
    assert "counted as received when it is recorded in the warehouse" in shown
    assert "line backordered MANY order-MANY" in shown
    # A bar is as high as its count, in parts of the highest one.
    assert response.text.count('height="40.0"') == 2


async def test_text_from_outside_is_escaped(own: Api) -> None:
    await own.record("A", 5, ref="batch-a")
    markup = "<img src=x onerror=alert(1)>"
    await own.client.patch("/v1/batches/batch-a", json={"qty": 4, "reason": "damaged", "reference": markup})

    assert markup not in (await get(own, "/products/A")).text
    assert markup in await text_of(own, "/products/A")
    assert "<img" not in (await get(own, f"/search?q={markup}")).text
    (entry,) = [row for row in await rows(own, "/products/A/history.csv") if row["reference"]]
    assert entry["reference"] == markup


async def test_a_file_has_the_whole_list_and_no_formula(own: Api) -> None:
    skus = [f"S-{number:03}" for number in range(250)]
    batches = [{"ref": f"b-{sku}", "sku": sku, "qty": 1, "eta": "2011-01-01"} for sku in skus]
    answer = await own.client.post("/v1/batches/bulk", json={"items": batches})
    assert answer.status_code == 200, answer.text
    await own.client.patch("/v1/batches/b-S-000", json={"qty": 2, "reason": "found", "reference": "=1+1"})
    order = await own.order("S-001", 9)

    assert [row["sku"] for row in await rows(own, "/products.csv")] == skus
    assert [row["ref"] for row in await rows(own, "/batches.csv?late=true")] == [f"b-{sku}" for sku in skus]
    assert [row["order_id"] for row in await rows(own, "/backorders.csv")] == [order]
    assert [row["sku"] for row in await rows(own, "/products.csv?backordered=true")] == ["S-001"]
    assert (await rows(own, "/products/S-000/history.csv"))[0]["reference"] == "'=1+1"
    first = Page((await get(own, "/products")).text)
    (more,) = [link for link in first.links if "cursor=" in link]
    assert "S-100" in await text_of(own, more.removeprefix("/board"))
    assert "S-099" not in await text_of(own, more.removeprefix("/board"))


async def test_search_finds_names_by_their_beginning(own: Api) -> None:
    await own.record("CHAIR", 50, ref="CHAIR-1")
    await own.record("chair", 1, ref="other")
    orders = [await own.order("CHAIR", 1, order_id=f"CH-{number:02}") for number in range(12)]

    found = (await own.client.get("/v1/search", params={"prefix": "CH"})).json()

    assert found == {"orders": orders[:10], "skus": ["CHAIR"], "batches": ["CHAIR-1"]}
    shown = await text_of(own, "/search?q=%20CHAIR-")
    assert "CHAIR-1" in shown
    assert "CH-01" not in shown
    assert (await own.client.get("/v1/search", params={"prefix": "<"})).status_code == 422
    assert "None." in await text_of(own, "/search?q=%3Cb%3E")
    assert (await get(own, "/search")).status_code == 200


async def test_without_authentication_no_one_signs_in(own: Api) -> None:
    assert "Sign out" not in (await get(own, "")).text
