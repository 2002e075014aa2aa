"""The board shows where batches are, how long they are good, whether they are blocked, and who got pieces of them."""

import re
from datetime import UTC, datetime, timedelta

from tests.http.test_asyncapi_page import Page
from tests.http.test_board import get, rows, text_of
from tests.support.api import Api


def day(distance: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=distance)).isoformat()


async def record(api: Api, ref: str, sku: str = "MILK", **terms: object) -> None:
    answer = await api.client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": 10, **terms})
    assert answer.status_code == 201, answer.text


async def facts(api: Api, ref: str) -> dict[str, str]:
    """What the page of the batch says about it."""
    found = re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", (await get(api, f"/batches/{ref}")).text)
    return {name: re.sub("<[^>]+>", "", value) for name, value in found}


async def unfit_shop(api: Api) -> None:
    """A batch that has expired and one that is blocked, each with a line, and one that is blocked without lines."""
    await record(api, "old", best_before=day(1))
    await api.order("MILK", 4, order_id="order-old")
    await api.change("old", best_before=day(-2))
    await record(api, "recalled", location="berlin", best_before=day(9), eta=day(3))
    await api.order("MILK", 2, order_id="order-recalled")
    await api.change("recalled", blocked=True)
    await record(api, "empty", "RICE", blocked=True)


async def test_pages_without_terms_do_not_mention_them(own: Api) -> None:
    await own.record("A", 1, ref="a", eta=day(3))
    for path in ("/products/A", "/batches", "/batches/a"):
        shown = await text_of(own, path)
        assert not re.search("Terms|Location|Best before|blocked|expired", shown), path


async def test_terms_of_batches_are_shown_in_words(own: Api) -> None:
    await unfit_shop(own)
    await record(own, "fresh", best_before=day(5))

    product = await text_of(own, "/products/MILK")
    assert f"old in the warehouse best before {day(-2)} (2 days ago), expired 10 0 4 0 0" in product
    assert f"fresh in the warehouse best before {day(5)} (in 5 days) 10 0 0 0 10" in product
    terms = f"location berlin, best before {day(9)} (in 9 days), blocked"
    assert f"recalled {day(3)} (in 3 days) {terms} 10" in product
    assert "shipped blocked or expired Batches" in product
    assert (await get(own, "/products/MILK")).text.count('<rect class="unfit" x=') == 3
    assert f"recalled MILK {terms} 10 0 1" in await text_of(own, "/batches")

    assert (await facts(own, "old"))["Best before"] == f"{day(-2)} (2 days ago) – expired"
    recalled = await facts(own, "recalled")
    assert [recalled[name] for name in ("Location", "Allocation")] == ["berlin", "blocked"]
    assert recalled["Best before"] == f"{day(9)} (in 9 days)"


async def test_who_blocked_a_batch_is_among_its_changes(own: Api) -> None:
    await record(own, "b", "A", location="berlin", best_before=day(9))
    await own.change("b", blocked=True)
    await own.change("b", blocked=False, location="main", best_before=None)

    changes = (await text_of(own, "/batches/b")).partition("Changes of the batch")[2]

    found = re.findall(r"(batch \w+) b (.*?) 10", changes)
    until = f"best before {day(9)} (in 9 days)"
    assert found == [
        ("batch changed", "location main, not blocked"),
        ("batch changed", f"location berlin, {until}, blocked"),
        ("batch created", f"location berlin, {until}"),
    ]
    assert "batch changed A b location main, not blocked" in await text_of(own, "")
    history = (await own.client.get("/v1/products/A/history")).json()["items"]
    newest, _, oldest = [each for each in history if each["event"].startswith("batch_")]
    assert (newest["location"], newest["blocked"], "best_before" in newest) == ("main", False, False)
    assert (oldest["location"], oldest["best_before"], "blocked" in oldest) == ("berlin", day(9), False)
    file = await rows(own, "/products/A/history.csv")
    assert [row["blocked"] for row in file if row["event"] == "batch_changed.v1"] == ["false", "true"]


async def test_unfit_batches_with_lines_have_a_list(own: Api) -> None:
    await unfit_shop(own)
    assert "/board/batches?unfit=true" in Page((await get(own, "")).text).links

    shown = await text_of(own, "/batches?unfit=true")

    assert "2 batches, by SKU" in shown
    assert f"old MILK in the warehouse best before {day(-2)} (2 days ago), expired 4 0 1" in shown
    assert "empty" not in shown
    assert [row["ref"] for row in await rows(own, "/batches.csv?unfit=true")] == ["old", "recalled"]
    assert [row["blocked"] for row in await rows(own, "/batches.csv?unfit=true")] == ["false", "true"]
    await own.change("recalled", eta=day(-1))
    late = await get(own, "/batches?unfit=true&late=true")
    assert "Unfit batches with lines that are late" in late.text
    assert "/board/batches.csv?late=true&unfit=true" in Page(late.text).links
    assert "1 batch, by SKU" in await text_of(own, "/batches?unfit=true&late=true")


async def test_the_page_of_a_batch_leads_to_those_who_got_it(own: Api) -> None:
    await record(own, "b", "A")
    orders = [await own.order("A", 1, order_id=f"order-{number}") for number in (2, 1, 3)]
    for order in orders[:2]:
        assert (await own.client.post(f"/v1/allocations/{order}/A/ship")).status_code == 200
    assert "/board/batches/b?shipped=true#orders" in Page((await get(own, "/batches/b")).text).links

    page = Page((await get(own, "/batches/b?shipped=true")).text)
    shown = re.sub(r"\s+", " ", page.text).partition("Orders that got pieces of it")[2].partition("Changes")[0]

    assert "2 lines shipped, in the order of shipment" in shown
    assert re.findall(r"order-\d", shown) == orders[:2]
    (file,) = [link for link in page.links if ".csv" in link]
    assert file == "/board/batches/b/allocations.csv?shipped=true"
    assert [row["order_id"] for row in await rows(own, file.removeprefix("/board"))] == orders[:2]
    assert [row["order_id"] for row in await rows(own, "/batches/b/allocations.csv")] == orders[2:]


async def test_the_pieces_of_a_product_add_up_to_those_on_hand_and_on_its_way(own: Api) -> None:
    await own.record("CHAIR", 10, ref="chairs-1")
    await own.record("CHAIR", 7, eta="2030-01-01")
    await own.order("CHAIR", 4)
    await own.allocate("CHAIR", 3, hold_for=600)

    assert "Available10 Held3 Allocated4 On hand10 On its way7" in await text_of(own, "/products/CHAIR")
    await own.change("chairs-1", blocked=True)
    shown = await text_of(own, "/products/CHAIR")
    assert "Available7 Held3 Allocated4 Blocked or expired3 On hand10 On its way7" in shown


async def test_a_held_line_has_its_stock(own: Api) -> None:
    await own.record("CHAIR", 5)
    await own.allocate("CHAIR", 3, order_id="held", hold_for=600)
    await own.order("CHAIR", 9, order_id="waiting")

    shown = await text_of(own, "/orders/held")

    assert "Every line has its stock. The hold of a line ends unless it is confirmed in time." in shown
    assert "The order waits for stock." in await text_of(own, "/orders/waiting")


async def test_late_batches_with_waiting_orders_come_first(own: Api) -> None:
    for number in range(12):
        await own.record("SHELF", 1, ref=f"idle-{number}", eta="2011-01-01")
    await own.record("CHAIR", 5, ref="wanted", eta="2012-01-01")
    await own.record("CHAIR", 5, ref="coming", eta="2999-01-01")
    await own.order("CHAIR", 2)

    for path in ("", "/batches", "/batches?late=true"):
        response = await get(own, path)
        shown = response.text.partition("Late and arriving</h2>")[2] or response.text
        assert shown.index("wanted") < shown.index("idle-0")
        assert "/board/batches/wanted#orders" in shown
        assert "/board/batches/idle-0#orders" not in shown
    text = await text_of(own, "/batches")
    assert text.index("– late, orders wait") < text.index("– late, no order waits") < text.index("coming")
