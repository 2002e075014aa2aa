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
from app.service_layer.cells import CellMap
from app.service_layer.messagebus import MessageBus
from app.settings import Settings
from faults.outside_judge import build
from tests.support.backends import Backend, in_memory, over_postgresql
from tests.support.cells import CELLS
from tests.support.database import bus_over, raw_connection
from tests.support.downloads import DownloadError
from tests.support.four_cells import CELLS as FOUR_CELLS
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


@pytest.fixture(params=["fake", "postgresql", "cells"])
def contract_database(request: pytest.FixtureRequest) -> tuple[str | None, CellMap]:
    """The URL of a database with its cells; None selects the fake.

    Not async, because databases are created on other event loops.
    """
    match request.param:
        case "postgresql":
            return request.getfixturevalue("database_url"), CELLS
        case "cells":
            return request.getfixturevalue("cells_url"), CellMap(4)
        case _:
            return None, CELLS


@pytest.fixture
async def backend(contract_database: tuple[str | None, CellMap]) -> AsyncIterator[Backend]:
    """A unit of work in memory, then one over PostgreSQL, and one over four cells."""
    url, cells = contract_database
    if url is None:
        yield in_memory()
    else:
        async with over_postgresql(url, cells) as over:
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


@pytest.fixture
async def over_cells(cells_url: str) -> AsyncIterator[Service]:
    """The wired service over four cells, its bus not running."""
    settings = Settings(_env_file=None, auth="none", database_url=SecretStr(cells_url), cells=FOUR_CELLS.number)
    async with bootstrap(settings) as wired:
        yield wired


@pytest.fixture
async def database(cells_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database with four cells."""
    async with raw_connection(cells_url) as connection:
        yield connection
