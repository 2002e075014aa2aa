"""The page about events and messages in a real browser."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_the_page_renders_and_its_links_lead_to_what_they_name(visit: Visit) -> None:
    await visit.page.goto(f"{visit.url}/asyncapi")
    await expect(visit.page.get_by_role("heading", level=1)).to_be_visible()
    for link in (await visit.page.locator("a[href^='#']").all())[:5]:
        await link.click()
        target = visit.page.url.partition("#")[2]
        await expect(visit.page.locator(f"[id='{target}']")).to_be_in_viewport()
    visit.assert_nothing_went_wrong()
