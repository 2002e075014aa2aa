"""Replaces unusable connections before a pool lends them."""

import time
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import event
from sqlalchemy.engine import Engine, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from app.adapters.postgresql.errors import is_disconnect, is_read_only
from app.observability import metrics

_CONNECTED = "connected"


def connected_at(info: dict[Any, Any]) -> float:
    """When the connection with this record was opened, on the monotonic clock.

    A connection that is older than the guard of its engine counts from its first loan.
    """
    return float(info.setdefault(_CONNECTED, time.monotonic()))


class PoolGuard:
    """Checks each connection that the pool of an engine is about to lend, and replaces unusable ones.

    A connection is unusable if it is closed, or older than a failure that is likely to concern all connections: the
    server is gone, or accepts no writes any more.
    """

    def __init__(self) -> None:
        self._valid_since = float("-inf")

    @classmethod
    def of(cls, engine: AsyncEngine) -> "PoolGuard":
        """The guard of the engine's pool; the first call installs it."""
        guard = _guards.get(engine.sync_engine)
        if guard is None:
            guard = _guards[engine.sync_engine] = cls()
            event.listen(engine.sync_engine, "connect", guard._note_time)
            event.listen(engine.sync_engine, "checkout", guard._check)
            event.listen(engine.sync_engine, "handle_error", guard._examine)
        return guard

    @classmethod
    def share(cls, engine: AsyncEngine, other: AsyncEngine) -> None:
        """Make the guard of the engine that of another engine on the same pool."""
        _guards[other.sync_engine] = cls.of(engine)

    def invalidate_idle(self) -> None:
        """Replace every existing connection before it is lent again."""
        self._valid_since = time.monotonic()

    def is_valid(self, info: dict[Any, Any]) -> bool:
        """Whether a connection with this record (`ConnectionPoolEntry.info`) may be used."""
        return connected_at(info) >= self._valid_since

    def _note_time(self, _: object, entry: ConnectionPoolEntry) -> None:
        entry.info[_CONNECTED] = time.monotonic()

    def _check(self, connection: Any, entry: ConnectionPoolEntry, _: object) -> None:  # noqa: ANN401 - the dialect's own
        driver = connection.driver_connection
        if driver.is_closed():
            raise DisconnectionError("the connection is closed")
        if not self.is_valid(entry.info):
            # Without a message to the server, which may not respond.
            driver.terminate()
            raise DisconnectionError("the connection is older than a failure of another one")

    def _examine(self, context: ExceptionContext) -> None:
        """Make SQLAlchemy replace the connection that failed and all connections that are as old.

        A working server cancels a statement before the driver's timeout and reports it. If the network drops packets,
        each connection of the pool would otherwise cost one caller the time of a timeout.
        """
        error = context.original_exception
        if is_unusable(error):
            context.is_disconnect = True
        if context.is_disconnect:
            self.invalidate_idle()


_guards: WeakKeyDictionary[Engine, PoolGuard] = WeakKeyDictionary()


def is_unusable(error: BaseException | None) -> bool:
    """Whether the connection that raised the error has to be replaced. Counts servers that refuse writes."""
    if is_read_only(error):
        metrics.read_only_refusals.inc()
    return is_disconnect(error)
