"""An engine and a bus for the tests of PostgreSQL, backends for the contract tests, and an identity provider."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.identity.json_web_tokens import JwtAuthenticator
from app.adapters.postgresql.connections import create_engine
from app.service_layer.messagebus import MessageBus
from faults.outside_judge import build
from tests.support.backends import Backend, in_memory, over_postgresql
from tests.support.database import bus_over
from tests.support.downloads import DownloadError
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
