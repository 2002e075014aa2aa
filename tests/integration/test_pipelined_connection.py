"""A write that is in progress while the next rows are computed."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from tests.support.database import raw_connection
from tests.support.waiting import eventually


@pytest.fixture
async def driver(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    url = make_url(database_url).set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    await connection.execute("CREATE TEMPORARY TABLE numbers (number int PRIMARY KEY)")
    yield connection
    await connection.close()


@pytest.fixture
def pipelined(driver: asyncpg.Connection) -> PipelinedConnection:
    return PipelinedConnection(driver)


async def test_starting_a_write_does_not_wait_for_it(pipelined: PipelinedConnection, database_url: str) -> None:
    async with asyncio.timeout(30):
        await pipelined.start("SELECT pg_sleep(60)")
        await eventually(lambda: _is_sleeping(database_url))
        await pipelined.abandon()


async def test_the_next_statement_sees_the_write(pipelined: PipelinedConnection) -> None:
    await pipelined.start("INSERT INTO numbers SELECT generate_series(1, $1::int)", 1000)
    assert await pipelined.fetchval("SELECT count(*) FROM numbers") == 1000
    await pipelined.start("DELETE FROM numbers WHERE number > 1")
    await pipelined.start("INSERT INTO numbers VALUES (5)")
    assert [row["number"] for row in await pipelined.fetch("SELECT number FROM numbers ORDER BY 1")] == [1, 5]


async def test_the_next_statement_raises_the_error_of_the_write(pipelined: PipelinedConnection) -> None:
    await pipelined.start("INSERT INTO numbers VALUES (1), (1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await pipelined.execute("SELECT 1")
    assert await pipelined.execute("SELECT 1") == "SELECT 1"


async def _is_sleeping(url: str) -> bool:
    """Whether PostgreSQL runs the write; a request to cancel that came sooner would have no effect."""
    async with raw_connection(url) as other:
        return bool(await other.fetchval("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')"))


async def test_a_write_that_is_abandoned_can_be_rolled_back(pipelined: PipelinedConnection, database_url: str) -> None:
    await pipelined.execute("BEGIN")
    await pipelined.start("INSERT INTO numbers SELECT 1 FROM pg_sleep(60)")
    await eventually(lambda: _is_sleeping(database_url))
    async with asyncio.timeout(30):
        await pipelined.abandon()
        await pipelined.execute("ROLLBACK")
    assert await pipelined.fetchval("SELECT count(*) FROM numbers") == 0


async def test_a_cancelled_caller_cancels_the_write_it_waits_for(pipelined: PipelinedConnection) -> None:
    await pipelined.start("SELECT pg_sleep(20)")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await pipelined.fetch("SELECT 1")
    assert await pipelined.fetchval("SELECT 1") == 1
