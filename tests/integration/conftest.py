"""An engine, and a bus over it, for the tests that look at PostgreSQL itself."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.database import create_engine
from app.service_layer.messagebus import MessageBus
from tests.support.database import bus_over


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
