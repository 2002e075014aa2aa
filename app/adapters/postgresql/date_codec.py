"""The codec of dates: `date.max` and `date.min` are days, not infinities."""

from datetime import date

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

# PostgreSQL counts days from 2000-01-01.
_EPOCH = date(2000, 1, 1).toordinal()
_FIRST_DAY, _LAST_DAY = date.min.toordinal(), date.max.toordinal()


def install_date_codec(engine: AsyncEngine) -> None:
    """Make asyncpg send `date.max` and `date.min` as 9999-12-31 and 0001-01-01.

    Its own codec sends `infinity` and `-infinity`, which other readers of the tables do not expect. Values that earlier
    releases stored that way are read as the two days.
    """
    event.listen(engine.sync_engine, "connect", _on_connect)


def _on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The codec of a built-in type is set without a round trip to the server.
    connection.run_async(_set_codec)


async def _set_codec(driver: asyncpg.Connection) -> None:
    await driver.set_type_codec("date", schema="pg_catalog", encoder=_days_of, decoder=_date_of, format="tuple")


def _days_of(day: date) -> tuple[int]:
    return (day.toordinal() - _EPOCH,)


def _date_of(days: tuple[int]) -> date:
    return date.fromordinal(min(max(days[0] + _EPOCH, _FIRST_DAY), _LAST_DAY))
