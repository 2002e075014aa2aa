"""Connections to PostgreSQL: pools with bounded waits, and loans of their connections."""

import ssl
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.adapters.postgresql.connector import Connector
from app.adapters.postgresql.database_url import DatabaseUrl, Target
from app.adapters.postgresql.date_codec import install_date_codec
from app.adapters.postgresql.errors import translated
from app.adapters.postgresql.pool_guard import PoolGuard, is_unusable

# Bounds on every wait, in seconds. An HTTP request has 8 s in total (ALLOCATION_HTTP_DEADLINE).
CONNECT_TIMEOUT = 3
COMMAND_TIMEOUT = 15
LOCK_TIMEOUT = 3
TRANSACTION_TIMEOUT = 15
POOL_TIMEOUT = 5
CLOSE_TIMEOUT = 0.5

STATEMENTS_OF_A_CELL = 100
"""How many statements a connection keeps prepared for each cell, those of SQLAlchemy and others apart."""

_PREPARED = ("prepared_statement_cache_size", "statement_cache_size")
_NAME = "name"


class _Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no type annotations
    """Closes in less time than SQLAlchemy allows, because an HTTP caller waits for it after its deadline."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the driver's own signature
        """Close, without a long wait for a server that does not respond."""
        await super().close(timeout=CLOSE_TIMEOUT if timeout is None else min(timeout, CLOSE_TIMEOUT))


def session_settings(time_zone: str, *, generic_plans: bool = True) -> dict[str, str]:
    """The settings of PostgreSQL that each session of the service has. See `create_engine`."""
    return {
        "lock_timeout": f"{LOCK_TIMEOUT}s",
        "statement_timeout": f"{COMMAND_TIMEOUT - 1}s",
        # An idle timeout is not enough: a process that hangs between the two messages of asyncpg's prepare
        # leaves a session that is not idle and keeps its locks. (PostgreSQL 17 and newer.)
        "transaction_timeout": f"{TRANSACTION_TIMEOUT}s",
        "timezone": time_zone,
        # A statement is planned once for each connection: planning an allocation took PostgreSQL as long as its
        # execution. A plan made while a table is empty would keep its sequential scan. A bitmap scan reads all
        # matching index entries before a LIMIT applies. Compiling with JIT costs more than it saves.
        **({"plan_cache_mode": "force_generic_plan"} if generic_plans else {}),
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "jit": "off",
    }


def create_engine(
    url: str,
    *,
    pool_size: int,
    tls: ssl.SSLContext | None = None,
    application_name: str = "allocation",
    target: Target = "read-write",
    time_zone: str = "UTC",
    generic_plans: bool = True,
    cells: int = 1,
) -> AsyncEngine:
    """A pool of at most `pool_size` connections with bounded waits. It connects later. Without `tls`: unencrypted.

    If the URL names several servers, connections are made to one that has the role `target`. `time_zone` decides on the
    day in statements. Without `generic_plans` the role's setting decides when a statement is planned anew: an engine
    with several servers cannot plan some of them without their arguments. Each of the `cells` has statements of its
    own, which a connection keeps prepared.
    """
    database = DatabaseUrl.parse(url)
    is_set = any(name in database.url.query for name in _PREPARED)
    engine = create_async_engine(
        database.url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        pool_recycle=1800,
        # Errors are logged, and must not contain what callers sent.
        hide_parameters=True,
        connect_args={
            # With one cell the defaults of SQLAlchemy and of the driver are enough.
            **({} if cells == 1 or is_set else dict.fromkeys(_PREPARED, STATEMENTS_OF_A_CELL * cells)),
            "async_creator_fn": Connector(database, target),
            "connection_class": _Connection,
            # Never None: asyncpg would try TLS without verification, and continue without TLS if it is refused.
            "ssl": tls or False,
            "timeout": CONNECT_TIMEOUT,
            "command_timeout": COMMAND_TIMEOUT,
            "server_settings": {
                "application_name": application_name,
                **session_settings(time_zone, generic_plans=generic_plans),
            },
        },
    )
    PoolGuard.of(engine)
    install_date_codec(engine)
    return engine


@asynccontextmanager
async def connect(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection of the pool. See `translated` for errors in the block."""
    with translated():
        async with engine.connect() as connection:
            yield connection


@asynccontextmanager
async def begin(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection of the pool in a transaction, which the end of the block commits. See `translated`."""
    with translated():
        async with engine.begin() as connection:
            yield connection


class DriverConnections:
    """Connections of the engine's pool for code that uses the driver directly.

    Up to `keep` of them stay checked out between two loans, because a checkout from SQLAlchemy's pool costs more than a
    group of commands may spend on it.
    """

    def __init__(self, engine: AsyncEngine, *, keep: int = 0) -> None:
        self._engine = engine
        self._guard = PoolGuard.of(engine)
        self._keep = keep
        self._is_closed = False
        self._idle: list[LentConnection] = []

    async def lend(self) -> "LentConnection":
        """A connection without an open transaction. Connections that are closed or invalidated are replaced."""
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
        """Take back a connection without an open transaction."""
        if self._is_closed:
            # The pool may be disposed of, and would keep the connection.
            await lent.throw_away()
        elif len(self._idle) < self._keep and not lent.driver.is_closed():
            self._idle.append(lent)
        else:
            await lent.pooled.close()

    async def throw_away(self, lent: "LentConnection") -> None:
        """Take back a connection in an unknown state."""
        await self.invalidate_idle()
        await lent.throw_away()

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator["LentConnection"]:
        """A connection for the block. It is replaced after an error, with all others if the server is gone.

        Raises DatabaseUnavailableError, also for a transient error in the block.
        """
        with translated():
            lent = await self.lend()
            try:
                yield lent
            except BaseException as error:
                await (self.throw_away(lent) if is_unusable(error) else lent.throw_away())
                raise
            await self.give_back(lent)

    async def invalidate_idle(self) -> None:
        """Replace all existing connections before they are lent again: the failure of one is likely to concern all."""
        self._guard.invalidate_idle()
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.throw_away()

    def in_use(self) -> int:
        """How many connections of the pool are in use. Idle ones that are kept do not count."""
        return connections_of(self._engine)() - len(self._idle)

    async def close(self) -> None:
        """Return all connections to the pool. Those that are lent now end when they are given back."""
        self._is_closed = True
        while self._idle:
            await self._idle.pop().pooled.close()


@dataclass(frozen=True, slots=True)
class LentConnection:
    """The pool's connection, the driver's connection inside it, and the pool's record of it."""

    pooled: AsyncConnection
    driver: asyncpg.Connection
    info: dict[Any, Any]

    @property
    def name(self) -> uuid.UUID:
        """The connection's own name, drawn at its first use: no other connection to any server ever has it."""
        if _NAME not in self.info:
            self.info[_NAME] = uuid.uuid4()
        name: uuid.UUID = self.info[_NAME]
        return name

    async def throw_away(self) -> None:
        """Terminate it without a message to the server, which may not respond."""
        self.driver.terminate()
        try:
            await self.pooled.invalidate()
        finally:
            await self.pooled.close()


def connections_of(engine: AsyncEngine) -> Callable[[], int]:
    """A function that returns how many connections of the pool are in use; 0 if the pool does not count."""
    return getattr(engine.sync_engine.pool, "checkedout", lambda: 0)
