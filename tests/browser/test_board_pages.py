"""Every page of the board: for every caller, on every screen, and as the documentation shows it."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, FloatRect, Locator, Page, expect

from tests.browser.conftest import PATIENCE, Visit
from tests.support.api import Api, assert_invalid, new, over_http
from tests.support.board_shop import shop
from tests.support.readme import assert_the_session_gives_what_the_readme_shows

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SCREENS = {"phone": (360, 800), "desk": (1000, 800), "wide": (1280, 800)}
PICTURES = Path(__file__).parents[2] / "docs/board"
MARKUP = "<img src=x>"


def paths_of(sku: str, order: str, batch: str | None) -> list[str]:
    """Every page of the board."""
    lists = [
        "",
        "/shortages",
        "/products",
        "/products?sold_out=true",
        "/backorders",
        "/batches",
        "/batches?late=true",
        "/batches?unfit=true",
    ]
    pages = [
        f"/products/{sku}",
        f"/orders/{order}",
        f"/batches/{batch}",
        f"/batches/{batch}?shipped=true",
        f"/search?q={sku[:8]}",
        "/sign-in",
    ]
    return lists + pages


@pytest.mark.parametrize(("own", "has_name"), [("Europe/Berlin", True), ("Etc/UTC", False)])
async def test_times_are_those_of_the_service_also_in_another_zone(
    browser: Browser, url: str, api: Api, own: str, *, has_name: bool
) -> None:
    sku, _ = await shop(api)
    context = await browser.new_context(timezone_id=own, locale="en-GB")
    page = await context.new_page()
    page.set_default_timeout(PATIENCE)
    await page.goto(f"{url}/board/products/{sku}")
    time = page.locator("#history time").first
    written = datetime.fromisoformat(await time.get_attribute("datetime") or "")
    await expect(time).to_have_text(f"{written:%d/%m/%Y, %H:%M:%S}" + " UTC" * has_name)
    await context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
async def test_every_page_fits_the_screen_and_names_its_parts(visit: Visit, api: Api, screen: str, scheme: str) -> None:
    sku, order = await shop(api)
    batch = await api.batch_of(order)
    width, _ = SCREENS[screen]
    await look(visit.page, screen, scheme)
    for path in paths_of(sku, order, batch):
        await visit.page.goto(f"{visit.url}/board{path}")
        needed = await visit.page.evaluate("document.documentElement.scrollWidth")
        assert needed <= width, path
        for table in await visit.page.locator("table").all():
            assert await table.locator("caption").count() == 1
            assert await table.locator("th:not([scope])").count() == 0
        for role in ("main", "banner"):
            await expect(visit.page.get_by_role(role)).to_have_count(1)
        unnamed = (
            "[...document.querySelectorAll('input:not([type=hidden])')].filter(each => !each.labels.length).length"
        )
        assert await visit.page.evaluate(unnamed) == 0
    visit.assert_nothing_went_wrong()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
async def test_no_page_has_a_barrier(visit: Visit, api: Api, screen: str, scheme: str) -> None:
    sku, order = await shop(api)
    batch = await api.batch_of(order)
    await look(visit.page, screen, scheme)
    for path in paths_of(sku, order, batch):
        await visit.page.goto(f"{visit.url}/board{path}")
        results = await Axe().run(visit.page)
        found = [
            (each["id"], each["impact"], [node["target"] for node in each["nodes"]])
            for each in results.response["violations"]
        ]
        assert found == [], path
    # Nor has a problem.
    await visit.page.goto(f"{visit.url}/board/products/none")
    assert (await Axe().run(visit.page)).violations_count == 0
    assert visit.foreign == []


@pytest.mark.parametrize("screen", SCREENS)
async def test_the_charts_of_today_fit_and_their_hours_are_under_their_bars(
    visit: Visit, api: Api, screen: str
) -> None:
    await shop(api)
    await look(visit.page, screen, "light")
    await visit.page.goto(f"{visit.url}/board")
    figures = await visit.page.locator("#hours figure").all()
    assert len(figures) == 3
    fills = set()
    for figure in figures:
        chart, labels = figure.locator("svg"), await figure.locator(".axis span").all()
        box, outer = await _box(chart), await _box(figure)
        assert (box["x"], box["width"]) == (outer["x"], outer["width"])
        centres = {}
        for label in labels:
            found = await _box(label)
            centres[await label.inner_text()] = found["x"] - box["x"] + found["width"] / 2
            assert found["x"] >= box["x"] - 1
            assert found["x"] + found["width"] <= box["x"] + box["width"] + 1
        assert list(centres) == ["0", "6", "12", "18", "24"]
        for hour in ("6", "12", "18"):
            assert centres[hour] == pytest.approx(box["width"] * int(hour) / 24, abs=2)
        fills |= set(await chart.locator("rect").evaluate_all("all => all.map(each => getComputedStyle(each).fill)"))
    # Received batches are drawn as the others.
    assert await figures[2].locator("rect").count() > 0
    assert len(fills) == 1
    visit.assert_nothing_went_wrong()


async def test_what_is_short_is_seen_on_a_phone(visit: Visit, api: Api) -> None:
    await shop(api)
    await look(visit.page, "phone", "light")
    await visit.page.goto(f"{visit.url}/board")
    columns = await visit.page.locator("#shortages thead th").all()
    assert [await each.inner_text() for each in columns[:3]] == ["SKU", "Waiting pieces", "Short by"]
    short = await _box(columns[2])
    assert short["x"] + short["width"] <= SCREENS["phone"][0]


async def _box(element: Locator) -> FloatRect:
    box = await element.bounding_box()
    assert box is not None
    return box


async def look(page: Page, screen: str, scheme: str) -> None:
    """Show the page on the screen and in the colours."""
    width, height = SCREENS[screen]
    await page.set_viewport_size({"width": width, "height": height})
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")


async def test_markup_is_no_sku_and_is_shown_as_text(visit: Visit, api: Api) -> None:
    for name in ("sku", "ref"):
        body = {"ref": new("batch"), "sku": new("sku"), "qty": 1} | {name: MARKUP}
        assert_invalid(await api.client.post("/v1/batches", json=body), ["body", name])
    sku, ref = new("sku"), new("batch")
    await api.record(sku, 5, ref=ref)
    await api.change(ref, qty=4, reason="damaged", reference=MARKUP)
    for path in (f"/products/{sku}", f"/batches/{ref}", f"/search?q={MARKUP}", ""):
        await visit.page.goto(f"{visit.url}/board{path}")
        await expect(visit.page.get_by_text(MARKUP).first).to_be_visible()
        assert await visit.page.locator("img").count() == 0
    visit.assert_nothing_went_wrong()


async def test_the_story_of_the_readme(visit: Visit, own_url: str, pytestconfig: pytest.Config) -> None:
    visit.url = own_url
    await asyncio.to_thread(assert_the_session_gives_what_the_readme_shows, own_url)
    async with over_http(own_url) as api:
        await _have_late_ships(api)
    takes = pytestconfig.getoption("--screenshots")
    for name, path, screen, scheme, height, text in (
        ("overview", "", "desk", "light", 1050, "ship-17"),
        ("overview-dark", "", "desk", "dark", 1050, "ship-17"),
        ("product", "/products/OAK-DESK", "desk", "light", 900, "declaration-4711"),
        ("order", "/orders/order-12", "desk", "light", 500, "ship-17"),
        ("batch", "/batches/ship-17", "desk", "light", 700, "order-12"),
        ("phone", "", "phone", "light", 800, "ship-17"),
    ):
        await look(visit.page, screen, scheme)
        await visit.page.goto(f"{own_url}/board{path}")
        await expect(visit.page.get_by_text(text).first).to_be_visible()
        await visit.is_streaming()
        if takes:
            PICTURES.mkdir(exist_ok=True)
            clip = FloatRect(x=0, y=0, width=SCREENS[screen][0], height=height)
            await visit.page.screenshot(path=PICTURES / f"{name}.png", full_page=True, clip=clip)
        if takes and name == "overview":
            await visit.page.locator("#hours").screenshot(path=PICTURES / "today.png")
    visit.assert_nothing_went_wrong()


async def _have_late_ships(api: Api) -> None:
    """Arrivals on some days, of which one is late, has been cut and has an order that waits for it."""
    today = datetime.now(UTC).date()
    for ref, qty, days in (("ship-17", 20, -6), ("ship-18", 12, 4), ("ship-19", 30, 11)):
        await api.record("OAK-DESK", qty, ref=ref, eta=(today + timedelta(days=days)).isoformat())
    await api.order("OAK-DESK", 12, order_id="order-12")
    await api.change("ship-17", qty=16, reason="customs", reference="declaration-4711")
    await api.allocate("OAK-DESK", 4, order_id="order-15", hold_for=600)
    await api.order("OAK-DESK", 10, order_id="order-16")
    await api.order("BLUE-VASE", 30, order_id="order-13")
    await api.order("RED-CHAIR", 40, order_id="order-14")
