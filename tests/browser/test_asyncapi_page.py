"""The page about events and messages in a real browser."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_the_page_renders_and_its_links_lead_to_their_targets(visit: Visit) -> None:
    await visit.page.goto(f"{visit.url}/asyncapi")
    await expect(visit.page.get_by_role("heading", level=1)).to_be_visible()
    for link in (await visit.page.locator("a[href^='#']").all())[:5]:
        await link.click()
        target = visit.page.url.partition("#")[2]
        await expect(visit.page.locator(f"[id='{target}']")).to_be_in_viewport()
    visit.assert_nothing_went_wrong()


async def test_the_page_fits_a_narrow_screen(visit: Visit) -> None:
    for width in (320, 420):
        await visit.page.set_viewport_size({"width": width, "height": 800})
        await visit.page.goto(f"{visit.url}/asyncapi")
        shown = "[document.documentElement.scrollWidth, window.innerWidth]"
        needed, available = await visit.page.evaluate(shown)
        assert needed <= available


async def test_headings_are_larger_than_the_text(visit: Visit) -> None:
    await visit.page.goto(f"{visit.url}/asyncapi")
    sizes = await visit.page.evaluate(
        """() => Object.fromEntries(['h1', 'h2', 'h3', 'p'].map(name => {
            const element = document.querySelector(name + ' code') || document.querySelector(name);
            return [name, parseFloat(getComputedStyle(element).fontSize)];
        }))"""
    )
    assert sizes["h1"] >= sizes["h2"] > sizes["h3"] > sizes["p"]
