"""Looking at PostgreSQL from outside: raw statements, who waits for whom, what a block of work costs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.calendar import UTC_CALENDAR, Calendar
from app.adapters.postgresql.connections import DriverConnections
from app.adapters.postgresql.unit_of_work import SqlUnitOfWork
from app.domain.commands import Command
from app.service_layer.cells import CellMap
from app.service_layer.handlers import COMMAND_HANDLERS
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import Cause
from app.service_layer.requests import Outcome, Request, RetryPolicy
from tests.support.cells import CELLS, schema_of_name

CAUSE = Cause("request-1", "conversation-1")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def unit_of_work(
    engine: AsyncEngine | DriverConnections,
    cells: CellMap = CELLS,
    *,
    kind: type[SqlUnitOfWork] = SqlUnitOfWork,
    calendar: Calendar = UTC_CALENDAR,
) -> SqlUnitOfWork:
    """A unit of work on connections of the engine."""
    connections = engine if isinstance(engine, DriverConnections) else DriverConnections(engine)
    return kind(connections, calendar=calendar, cells=cells)


def bus_over(
    engine: AsyncEngine | DriverConnections, retry: RetryPolicy | None = None, cells: CellMap = CELLS, **options: Any
) -> MessageBus:
    """A bus as another process would have it: `handle_group` works at once. The options are those of `unit_of_work`."""
    return MessageBus(lambda _: unit_of_work(engine, cells, **options), COMMAND_HANDLERS, retry=retry, cells=cells)


async def play(bus: MessageBus, *commands: Command) -> list[Outcome]:
    """Run the commands in one unit of work."""
    return await bus.handle_group([Request(command, CAUSE) for command in commands])


async def results(bus: MessageBus, *commands: Command) -> list[Any]:
    """The results of the commands, run in one unit of work. Raises the first error."""
    return [outcome.unwrap() for outcome in await play(bus, *commands)]


def labels(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.label for outcome in outcomes]


@asynccontextmanager
async def raw_connection(database_url: str, *, cell_of: str | None = None) -> AsyncIterator[asyncpg.Connection]:
    """A connection without any of the service's settings.

    `cell_of` is a name, for example a SKU: statements find the tables of its cell. Otherwise they find the rows of all
    cells, which with several cells are those of a view: it cannot be locked, and neither can its rows.
    """
    url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    schema = None if cell_of is None else schema_of_name(cell_of)
    connection = await asyncpg.connect(url, server_settings={} if schema is None else {"search_path": schema})
    try:
        yield connection
    finally:
        await connection.close()


async def waiting_for_a_lock(database_url: str, number: int = 1) -> None:
    """Return once `number` sessions of this database wait for a lock."""
    # A connection of its own, because a transaction sees the activities as they were when it first looked.
    async with raw_connection(database_url) as connection, asyncio.timeout(60):
        while number > await connection.fetchval(WAITING):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.005)  # poll


@asynccontextmanager
async def statements(engine: AsyncEngine) -> AsyncIterator[list[str]]:
    """The statements that the only connection of the pool executes within the block."""
    executed: list[str] = []

    def note(query: asyncpg.connection.LoggedQuery) -> None:
        executed.append(query.query)

    connections = DriverConnections(engine)
    lent = await connections.lend()
    await connections.give_back(lent)
    with lent.driver.query_logger(note):
        yield executed
    assert executed, "another connection was used"
