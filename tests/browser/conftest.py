"""A running service, and a page in a real browser that records errors."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, expect
from pydantic import SecretStr

from app.embedded.broker import EmbeddedBroker
from app.embedded.postgresql import EmbeddedPostgresql
from app.settings import Settings
from tests.conftest import new_database
from tests.support import chromium
from tests.support.apache_kafka import ApacheKafka
from tests.support.api import Api, over_http
from tests.support.live import live_application

PATIENCE = 60_000
"""Milliseconds that a page may take for one step, on a machine that is busy with other tests."""

expect.set_options(timeout=PATIENCE)


@dataclass
class Visit:
    """A page of the service, and the errors that its browser has recorded."""

    url: str
    page: Page
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    """Requests to other origins than the service's."""
    refused: list[str] = field(default_factory=list)

    def note(self) -> None:
        """Start to record."""
        self.page.on("console", self._note_message)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._note_request)
        self.page.on("response", self._note_response)

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", "data:", "blob:")):
            self.foreign.append(request.url)

    def _note_response(self, response: Response) -> None:
        if not response.ok:
            self.refused.append(f"{response.status} {response.url}")

    def assert_nothing_went_wrong(self) -> None:
        """Fail where the browser reported an error, or a request left for another origin or was refused."""
        assert (self.errors, self.foreign, self.refused) == ([], [], [])

    async def is_streaming(self) -> None:
        """Return when the page follows the stream."""
        await expect(self.page.locator(".updates")).to_have_attribute("data-updates", "stream")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Headless Chromium, for all tests on the loop of the session."""
    program = chromium.find()
    if program is None:
        pytest.skip("Chromium is not installed; `make test-browser` installs it where it may")
    async with chromium.running(program) as browser:
        yield browser


NewShop = Callable[..., Settings]


@pytest.fixture(scope="session")
def new_shop(
    postgresql: EmbeddedPostgresql, template_database: str, broker: EmbeddedBroker | ApacheKafka
) -> Iterator[NewShop]:
    """Returns settings with a database and an events topic of its own. The database exists until the end."""
    with ExitStack() as databases:

        def create(**more: Any) -> Settings:
            url = databases.enter_context(new_database(postgresql, f"TEMPLATE {template_database}"))
            return Settings(
                _env_file=None,
                database_url=SecretStr(url),
                kafka_bootstrap_servers=broker.bootstrap_servers,
                kafka_idempotent_producer=isinstance(broker, ApacheKafka),
                kafka_events_topic=f"events.{uuid.uuid4().hex}",
                **{"auth": "none"} | more,
            )

        yield create


@pytest.fixture
def settings_of_own(new_shop: NewShop) -> Settings:
    """Settings with a database that only this test uses."""
    return new_shop()


@pytest.fixture
def own_url(settings_of_own: Settings) -> Iterator[str]:
    """The address of a service that only this test uses."""
    with live_application(settings_of_own, has_broker=True) as url:
        yield url


@pytest.fixture(scope="session")
def url(new_shop: NewShop) -> Iterator[str]:
    """The address of a service with a database of its own, which publishes its events."""
    with live_application(new_shop(), has_broker=True) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, url: str) -> AsyncIterator[Visit]:
    """An empty page of a browser that has no cookies and no cache."""
    context = await browser.new_context()
    page = await context.new_page()
    page.set_default_timeout(PATIENCE)
    found = Visit(url, page)
    found.note()
    yield found
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def api(visit: Visit) -> AsyncIterator[Api]:
    """The service of the page, for other callers."""
    async with over_http(visit.url) as api:
        yield api
