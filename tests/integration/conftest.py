"""An engine and a bus for the tests of PostgreSQL, backends for the contract tests, and an identity provider."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.identity.json_web_tokens import JwtAuthenticator
from app.adapters.postgresql.connections import create_engine
from app.bootstrap import Service, bootstrap
from app.embedded.postgresql import EmbeddedPostgresql
from app.service_layer.messagebus import MessageBus
from app.settings import Settings
from faults.outside_judge import build
from tests.conftest import new_database
from tests.support.backends import Backend, in_memory, over_postgresql
from tests.support.database import bus_over, raw_connection
from tests.support.downloads import DownloadError
from tests.support.four_cells import CELLS, migrated_template
from tests.support.identity_provider import IdentityProvider, running_identity_provider, tokens_of


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The service's pool of connections to a database of this test's own."""
    engine = create_engine(database_url, pool_size=5)
    yield engine
    await engine.dispose()


@pytest.fixture
def bus(engine: AsyncEngine) -> MessageBus:
    """A bus that needs no worker: for `handle_group`."""
    return bus_over(engine)


@pytest.fixture(params=["fake", "postgresql"])
def contract_url(request: pytest.FixtureRequest) -> str | None:
    """The URL of a database; None selects the fake. Not async, because databases are created on other event loops."""
    if request.param == "fake":
        return None
    database_url: str = request.getfixturevalue("database_url")
    return database_url


@pytest.fixture
async def backend(contract_url: str | None) -> AsyncIterator[Backend]:
    """A unit of work in memory, and then one over PostgreSQL."""
    if contract_url is None:
        yield in_memory()
    else:
        async with over_postgresql(contract_url) as over:
            yield over


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    """An identity provider."""
    with running_identity_provider() as running:
        yield running


@pytest.fixture
def tokens(provider: IdentityProvider) -> JwtAuthenticator:
    """An authenticator for the tokens of the identity provider."""
    return tokens_of(provider)


@pytest.fixture(scope="session")
def program() -> Path:
    """The outside judge."""
    try:
        return build()
    except DownloadError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def template_of_cells(postgresql: EmbeddedPostgresql) -> Iterator[str]:
    """The name of a database with four cells."""
    with migrated_template(postgresql) as name:
        yield name


@pytest.fixture
def cells_url(postgresql: EmbeddedPostgresql, template_of_cells: str) -> Iterator[str]:
    """The URL of a database with four cells that only this test uses."""
    with new_database(postgresql, f"TEMPLATE {template_of_cells} STRATEGY FILE_COPY") as url:
        yield url


@pytest.fixture
async def over_cells(cells_url: str) -> AsyncIterator[Service]:
    """The wired service over four cells, its bus not running."""
    settings = Settings(_env_file=None, auth="none", database_url=SecretStr(cells_url), cells=CELLS.number)
    async with bootstrap(settings) as wired:
        yield wired


@pytest.fixture
async def database(cells_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database with four cells."""
    async with raw_connection(cells_url) as connection:
        yield connection
