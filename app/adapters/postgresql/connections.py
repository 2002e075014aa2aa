"""Connections to PostgreSQL: pools with bounded waits, and loans of their connections."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.adapters.postgresql.connector import Connector
from app.adapters.postgresql.database_url import DatabaseUrl, Target
from app.adapters.postgresql.date_codec import write_dates_as_they_are
from app.adapters.postgresql.errors import translated
from app.adapters.postgresql.pool_guard import PoolGuard

# Bounds on every wait, in seconds. A caller over HTTP has 8 s in all (ALLOCATION_HTTP_DEADLINE).
CONNECT_TIMEOUT = 3
COMMAND_TIMEOUT = 15
LOCK_TIMEOUT = 3
TRANSACTION_TIMEOUT = 15
POOL_TIMEOUT = 5
FAREWELL_TIMEOUT = 0.5


class _Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg bears no types
    """Says farewell in less time than SQLAlchemy allows, for an HTTP caller waits for it after its deadline."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the driver's own signature
        """Close; a server that does not answer is left at once."""
        await super().close(timeout=FAREWELL_TIMEOUT if timeout is None else min(timeout, FAREWELL_TIMEOUT))


def create_engine(
    url: str,
    *,
    pool_size: int,
    tls: ssl.SSLContext | None = None,
    application_name: str = "allocation",
    target: Target = "read-write",
) -> AsyncEngine:
    """A pool of at most `pool_size` connections with bounded waits; nothing is connected yet. Without `tls`: plain.

    Of the servers that the URL names, a connection leads to one that fits `target`.
    """
    database = DatabaseUrl.parse(url)
    engine = create_async_engine(
        database.url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        pool_recycle=1800,
        # What was sent has no place in the text of an error, which is logged.
        hide_parameters=True,
        connect_args={
            "async_creator_fn": Connector(database, target),
            "connection_class": _Connection,
            # Never None: asyncpg would try TLS, check nothing, and go on without it where it is refused.
            "ssl": tls or False,
            "timeout": CONNECT_TIMEOUT,
            "command_timeout": COMMAND_TIMEOUT,
            "server_settings": {
                "application_name": application_name,
                "lock_timeout": f"{LOCK_TIMEOUT}s",
                "statement_timeout": f"{COMMAND_TIMEOUT - 1}s",
                # Not only where it is idle: a process that hangs between the two halves of asyncpg's prepare leaves a
                # session that is none, and would keep its locks for as long as it hangs. (PostgreSQL 17 and newer.)
                "transaction_timeout": f"{TRANSACTION_TIMEOUT}s",
                "timezone": "UTC",
                # Statements are planned once and kept. Planned while a table is empty, they would keep its sequential
                # scan for ever; compiling them would cost more than running them. A bitmap, too, is cheap only while
                # there is little: it reads all that an index has before a LIMIT counts.
                "enable_seqscan": "off",
                "enable_bitmapscan": "off",
                "jit": "off",
            },
        },
    )
    PoolGuard.of(engine)
    write_dates_as_they_are(engine)
    return engine


@asynccontextmanager
async def connect(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection of the pool. Raises DatabaseUnavailableError, also for a transient error in the block."""
    with translated():
        async with engine.connect() as connection:
            yield connection


@asynccontextmanager
async def begin(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection of the pool in a transaction, which the end of the block commits.

    Raises DatabaseUnavailableError, also for a transient error in the block.
    """
    with translated():
        async with engine.begin() as connection:
            yield connection


class DriverConnections:
    """Connections of the engine's pool, lent to whoever speaks to the driver itself.

    Up to `keep` of them stay checked out between two loans: what SQLAlchemy does to take a connection from its pool and
    to give it back costs more than a group of commands may spend on it.
    """

    def __init__(self, engine: AsyncEngine, *, keep: int = 0) -> None:
        self._engine = engine
        self._guard = PoolGuard.of(engine)
        self._keep = keep
        self._idle: list[LentConnection] = []

    async def lend(self) -> "LentConnection":
        """A connection with no transaction open; one that is of no use any more is replaced."""
        while self._idle:
            lent = self._idle.pop()
            if not lent.driver.is_closed() and self._guard.is_valid(lent.info):
                return lent
            await lent.throw_away()
        pooled = await self._engine.connect()
        try:
            raw = await pooled.get_raw_connection()
        except BaseException:
            await pooled.close()
            raise
        return LentConnection(pooled, raw.driver_connection, raw.info)

    async def give_back(self, lent: "LentConnection") -> None:
        """Take back a connection with no transaction open."""
        if len(self._idle) < self._keep and not lent.driver.is_closed():
            self._idle.append(lent)
        else:
            await lent.pooled.close()

    async def throw_away(self, lent: "LentConnection") -> None:
        """Take back a connection in an unknown state."""
        await self.distrust()
        await lent.throw_away()

    async def distrust(self) -> None:
        """Lend none of the connections that there are: they are likely to have met the fate of the one that failed."""
        self._guard.invalidate_idle()
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.throw_away()

    def in_use(self) -> int:
        """How many connections of the pool are in use; those that are only kept are not."""
        return connections_of(self._engine)() - len(self._idle)

    async def close(self) -> None:
        """Give everything back to the pool."""
        while self._idle:
            await self._idle.pop().pooled.close()


@dataclass(frozen=True, slots=True)
class LentConnection:
    """The pool's connection, the driver's inside it, and what the pool has noted about it."""

    pooled: AsyncConnection
    driver: asyncpg.Connection
    info: dict[Any, Any]

    async def throw_away(self) -> None:
        """End it without a word to the server, which may not answer."""
        self.driver.terminate()
        try:
            await self.pooled.invalidate()
        finally:
            await self.pooled.close()


def connections_of(engine: AsyncEngine) -> Callable[[], int]:
    """What tells how many connections of the engine's pool are in use; 0 where the pool does not count."""
    return getattr(engine.sync_engine.pool, "checkedout", lambda: 0)
