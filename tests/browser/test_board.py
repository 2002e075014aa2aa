"""The board in a real browser: current, usable with the keyboard alone, and without requests to other origins."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import PATIENCE, NewShop, Visit
from tests.support.api import Api
from tests.support.board_shop import shop
from tests.support.keys import add_key
from tests.support.live import live_application

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("board") / "keys.toml"
    file.touch()
    return file


@pytest.fixture(scope="session")
def guarded_url(new_shop: NewShop, key_file: Path) -> Iterator[str]:
    """The address of a service with API keys."""
    with live_application(new_shop(auth="api-keys", api_keys_file=key_file), has_broker=True) as url:
        yield url


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
    await visit.is_streaming()
    key_file.write_text("")
    # The stream ends with the next ping, and the page fetches itself without it.
    await expect(visit.page.get_by_role("heading", level=1)).to_have_text("Sign in")
