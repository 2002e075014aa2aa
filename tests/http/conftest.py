"""The application in process, over a database that these tests share; each test uses references of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import create_engine
from app.bootstrap import bootstrap
from app.embedded.postgresql import EmbeddedPostgresql
from app.service_layer.callers import SCOPES
from app.settings import Settings
from tests.conftest import new_database
from tests.support.api import Api, in_process
from tests.support.feed import StillFeed
from tests.support.hold_shop import Shop
from tests.support.keys import add_key, guarded


@pytest.fixture(scope="session")
def shared_database_url(postgresql: EmbeddedPostgresql, template_database: str) -> Iterator[str]:
    """The URL of a migrated database that all tests of this folder may use at once."""
    with new_database(postgresql, f"TEMPLATE {template_database}") as url:
        yield url


@pytest.fixture
def shared_settings(shared_database_url: str) -> Settings:
    """Settings for the shared database, without the limit of 8 s for an answer: much work at once may take longer."""
    settings = Settings(_env_file=None, auth="none", database_url=SecretStr(shared_database_url))
    # A copy is not validated, so the deadline may be longer than the setting allows.
    return settings.model_copy(update={"http_deadline": 120.0})


@pytest.fixture
async def api(shared_settings: Settings) -> AsyncIterator[Api]:
    """The application, called over HTTP."""
    async with bootstrap(shared_settings, feed=StillFeed()) as service, in_process(service) as caller:
        yield caller


@pytest.fixture
async def other_api(shared_settings: Settings) -> AsyncIterator[Api]:
    """A second instance over the same database, without shared state."""
    async with bootstrap(shared_settings) as service, in_process(service) as caller:
        yield caller


@pytest.fixture
async def engine(shared_database_url: str) -> AsyncIterator[AsyncEngine]:
    """Direct access to the shared database."""
    engine = create_engine(shared_database_url, pool_size=2)
    yield engine
    await engine.dispose()


@pytest.fixture
async def shop(shared_settings: Settings) -> AsyncIterator[Shop]:
    """The application with a clock that the test moves."""
    found = Shop(None)  # type: ignore[arg-type]
    async with bootstrap(shared_settings, clock=found.clock) as service, in_process(service) as api:
        found.api = api
        yield found


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the keys that the tests of one file use."""
    return tmp_path_factory.mktemp("keys") / "api-keys.toml"


@pytest.fixture(scope="module")
def keys_with(key_file: Path) -> dict[str, str]:
    """A key that has only the scope, for each scope."""
    return {scope: add_key(key_file, f"with {scope}", [scope]) for scope in sorted(SCOPES)}


@pytest.fixture(scope="module")
def keys_without(key_file: Path) -> dict[str, str]:
    """A key that has every scope but that one, for each scope."""
    return {scope: add_key(key_file, f"without {scope}", SCOPES - {scope}) for scope in sorted(SCOPES)}


@pytest.fixture
async def locked(
    shared_settings: Settings, key_file: Path, keys_with: dict[str, str], keys_without: dict[str, str]
) -> AsyncIterator[Api]:
    """The application, which takes the keys of `key_file`."""
    async with guarded(shared_settings, key_file) as api:
        yield api


@pytest.fixture
async def keyed(shared_settings: Settings, key_file: Path) -> AsyncIterator[Api]:
    """The application, which takes the keys that the test adds to `key_file`, which is empty."""
    key_file.write_text("")
    async with guarded(shared_settings, key_file) as api:
        yield api


@pytest.fixture
async def own(settings: Settings) -> AsyncIterator[Api]:
    """The application over a database of its own, which has the entries of this test only."""
    async with bootstrap(settings) as service, in_process(service) as caller:
        yield caller


@pytest.fixture
async def own_engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Direct access to the same database."""
    engine = create_engine(database_url, pool_size=1)
    yield engine
    await engine.dispose()
