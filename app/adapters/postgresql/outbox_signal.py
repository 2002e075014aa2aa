"""The signal that events are pending: relays wait for it, and need not poll often."""

import asyncio
import math
import ssl
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import DriverConnections
from app.adapters.postgresql.connector import Connector
from app.adapters.postgresql.database_url import DatabaseUrl
from app.adapters.postgresql.errors import translated
from app.adapters.postgresql.wake import Wake
from app.cancellation import cancel

CHANNEL = "allocation_outbox"
# A lost signal only delays the relay, so its commit does not wait for the disk.
_NOTIFY = f"SET LOCAL synchronous_commit = off; NOTIFY {CHANNEL}"
LISTENER_TIMEOUT = 3.0


class OutboxSignal:
    """Wakes relays when events are pending: the one in this process immediately, others by NOTIFY.

    There is at most one NOTIFY in `interval` seconds, because PostgreSQL commits only one transaction with a NOTIFY at
    a time. A lost signal delays a relay by one poll interval.
    """

    def __init__(self, engine: AsyncEngine, *, interval: float = 0.05) -> None:
        self._connections = DriverConnections(engine)
        self._interval = interval
        self._notified_at = -math.inf
        self._wakes: list[Wake] = []
        self._pending: asyncio.Task[None] | None = None

    def new_wake(self) -> Wake:
        """A wake for one relay: each signal sets it."""
        self._wakes.append(Wake())
        return self._wakes[-1]

    def __call__(self) -> None:
        """Signal that events were committed."""
        self.received()
        if self._pending is None or self._pending.done():
            self._pending = asyncio.create_task(self._notify(), name="outbox-notify")

    def received(self) -> None:
        """Wake the relays of this process: another one committed events, or this one."""
        for wake in self._wakes:
            wake.set()

    async def close(self) -> None:
        """Cancel a NOTIFY that is pending."""
        if self._pending is not None:
            await cancel([self._pending])

    async def _notify(self) -> None:
        await asyncio.sleep(self._notified_at + self._interval - time.monotonic())
        self._notified_at = time.monotonic()
        try:
            async with self._connections.borrowed() as lent:
                await lent.driver.execute(_NOTIFY)
        except Exception:  # noqa: BLE001 - relays also poll
            return


class OutboxListener:
    """Listens for NOTIFY on a connection of its own. While it is lost, relays only poll."""

    def __init__(self, database_url: str, on_signal: Callable[[], None], *, tls: ssl.SSLContext | None = None) -> None:
        database = DatabaseUrl.parse(database_url)
        _, self._arguments = database.url.get_dialect()().create_connect_args(database.url)
        self._arguments["ssl"] = tls or False
        # A standby refuses LISTEN.
        self._connect = Connector(database, "read-write")
        self._on_signal = on_signal
        self._connection: asyncpg.Connection | None = None

    async def ensure(self) -> None:
        """Connect, unless connected. Raises DatabaseUnavailableError.

        A connection that only listens would not detect a server that vanished, so this method sends a statement.
        """
        if self._connection is not None and not self._connection.is_closed():
            try:
                await self._connection.execute("SELECT", timeout=LISTENER_TIMEOUT)
            except Exception:  # noqa: BLE001 - the next connection attempt reports the fault
                self._connection.terminate()
            except BaseException:
                self._connection.terminate()
                raise
            else:
                return
        with translated():
            self._connection = await self._listen()

    async def _listen(self) -> asyncpg.Connection:
        connection = await self._connect(**self._arguments, timeout=LISTENER_TIMEOUT, command_timeout=5)
        try:
            await connection.add_listener(CHANNEL, lambda *_: self._on_signal())
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def __aenter__(self) -> Self:
        """Do not connect yet: `ensure` does."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.terminate()
