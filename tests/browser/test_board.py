"""The board in a real browser: current, usable with the keyboard alone, and without requests to other origins."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from pydantic import SecretStr

from app.embedded.postgresql import EmbeddedPostgresql
from app.settings import Settings
from tests.browser.conftest import PATIENCE, Visit
from tests.conftest import _execute, url_of_database
from tests.support.api import Api, new, over_http
from tests.support.keys import add_key
from tests.support.live import live_application

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CHARACTERS = "aZ9.b_c:d-e"
SCREENS = {"phone": (360, 800), "desk": (1280, 900)}


@pytest_asyncio.fixture(loop_scope="session")
async def api(visit: Visit) -> AsyncIterator[Api]:
    async with over_http(visit.url) as api:
        yield api


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("board") / "keys.toml"
    file.touch()
    return file


@pytest.fixture(scope="session")
def guarded_url(postgresql: EmbeddedPostgresql, template_database: str, key_file: Path) -> Iterator[str]:
    """The address of a service with API keys."""
    name = f"board_{uuid.uuid4().hex}"
    asyncio.run(_execute(postgresql, f"CREATE DATABASE {name} OWNER allocation TEMPLATE {template_database}"))
    database = SecretStr(url_of_database(postgresql, name))
    settings = Settings(_env_file=None, auth="api-keys", api_keys_file=key_file, database_url=database)
    with live_application(settings) as url:
        yield url
    asyncio.run(_execute(postgresql, f"DROP DATABASE {name} WITH (FORCE)"))


async def shop(api: Api) -> tuple[str, str]:
    """A product with stock, an arrival, a hold and a queue, and an order whose id has every allowed character."""
    sku, order = new("sku"), f"{CHARACTERS}{uuid.uuid4().hex}"
    await api.record(sku, 10)
    await api.record(sku, 5, eta="2011-01-01")
    await api.order(sku, 4, order_id=order)
    await api.allocate(sku, 2, hold_for=600)
    await api.order(sku, 50)
    return sku, order


async def test_an_allocation_appears_within_two_seconds(visit: Visit, api: Api) -> None:
    sku, _ = await shop(api)
    await visit.page.goto(f"{visit.url}/board/products/{sku}")
    await expect(visit.page.get_by_role("heading", level=1)).to_have_text(sku)
    order = await api.order(sku, 1)
    await expect(visit.page.locator("#history").get_by_role("link", name=order)).to_be_visible(timeout=2_000)
    await expect(visit.page.get_by_role("status")).to_contain_text("History")
    visit.assert_nothing_went_wrong()


async def test_rows_do_not_move_under_the_pointer_or_the_focus(visit: Visit, api: Api) -> None:
    sku, _ = await shop(api)
    await visit.page.goto(f"{visit.url}/board/products/{sku}")
    await visit.page.locator("#history tbody a").first.focus()
    order = await api.order(sku, 1)
    offer = visit.page.get_by_role("button", name="1 new: show")
    await expect(offer).to_be_visible()
    link = visit.page.locator("#history").get_by_role("link", name=order)
    await expect(link).to_have_count(0)
    await offer.click()
    await expect(link).to_be_visible()
    await expect(offer).to_be_hidden()
    visit.assert_nothing_went_wrong()


async def test_a_paused_page_does_not_change(visit: Visit, api: Api) -> None:
    sku, _ = await shop(api)
    await visit.page.goto(f"{visit.url}/board/products/{sku}")
    pause = visit.page.get_by_role("button", name="Pause")
    await pause.click()
    await expect(pause).to_have_attribute("aria-pressed", "true")
    order = await api.order(sku, 1)
    await visit.page.wait_for_timeout(2_500)
    link = visit.page.locator("#history").get_by_role("link", name=order)
    await expect(link).to_have_count(0)
    await pause.click()
    await expect(link).to_be_visible()
    visit.assert_nothing_went_wrong()


async def test_a_page_without_answers_says_since_when_it_is_stale(visit: Visit, api: Api) -> None:
    sku, _ = await shop(api)
    await visit.page.clock.install()
    await visit.page.goto(f"{visit.url}/board/products/{sku}")
    await visit.page.context.set_offline(True)
    await visit.page.clock.run_for(35_000)
    await expect(visit.page.get_by_role("status")).to_contain_text("Stale since")
    await visit.page.context.set_offline(False)
    await visit.page.clock.run_for(2_000)
    await expect(visit.page.get_by_role("status")).to_have_text("Current again")


async def test_keyboard_alone_leads_from_the_overview_to_an_order(visit: Visit, api: Api) -> None:
    _, order = await shop(api)
    await visit.page.goto(f"{visit.url}/board")
    await visit.page.keyboard.press("Tab")
    await expect(visit.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    for _ in range(20):
        await visit.page.keyboard.press("Tab")
        if await visit.page.evaluate("document.activeElement.id") == "q":
            break
    await visit.page.keyboard.type(order)
    await visit.page.keyboard.press("Enter")
    await visit.page.wait_for_url("**/board/search?q=*")
    await visit.page.keyboard.press("Tab")
    await visit.page.keyboard.press("Enter")
    for _ in range(20):
        await visit.page.keyboard.press("Tab")
        if await visit.page.evaluate("document.activeElement.textContent") == order:
            break
    await visit.page.keyboard.press("Enter")
    await expect(visit.page.get_by_role("heading", level=1)).to_have_text(f"Order {order}")
    visit.assert_nothing_went_wrong()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
async def test_every_page_fits_the_screen_and_names_its_parts(visit: Visit, api: Api, screen: str, scheme: str) -> None:
    sku, order = await shop(api)
    width, height = SCREENS[screen]
    await visit.page.set_viewport_size({"width": width, "height": height})
    await visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for path in ("", "/products", "/backorders", "/batches", f"/products/{sku}", f"/orders/{order}", "/sign-in"):
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


async def test_a_page_is_complete_without_its_script(browser: Browser, url: str, api: Api) -> None:
    sku, order = await shop(api)
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE)
    await page.goto(f"{url}/board/products/{sku}")
    await page.locator("#history").get_by_role("link", name=order).first.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"Order {order}")
    await context.close()


async def test_signing_in_and_out_and_a_removed_key(visit: Visit, guarded_url: str, key_file: Path) -> None:
    visit.url = guarded_url
    key = add_key(key_file, "ana", ["read"])
    await visit.page.goto(f"{guarded_url}/board/products?low_stock=true")
    await visit.page.get_by_label("API key or token").fill(key)
    await visit.page.get_by_role("button", name="Sign in").click()
    await expect(visit.page.get_by_role("heading", level=1)).to_have_text("Low stock")
    assert visit.page.url == f"{guarded_url}/board/products?low_stock=true"
    assert await visit.page.evaluate("document.cookie") == ""
    await visit.page.get_by_role("button", name="Sign out").click()
    await expect(visit.page.get_by_role("heading", level=1)).to_have_text("Sign in")
    await visit.page.goto(f"{guarded_url}/board")
    await expect(visit.page.get_by_role("heading", level=1)).to_have_text("Sign in")
    # Each sign-in and sign-out is a redirection, which counts as refused.
    assert (visit.errors, visit.foreign) == ([], [])

    await visit.page.get_by_label("API key or token").fill(key)
    await visit.page.get_by_role("button", name="Sign in").click()
    await expect(visit.page.get_by_role("heading", level=1)).to_have_text("What needs action")
    key_file.write_text("")
    # The open page notices it with its next update.
    await expect(visit.page.get_by_role("heading", level=1)).to_have_text("Sign in")
