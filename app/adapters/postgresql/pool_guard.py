"""Keeps connections that are no longer of use from being lent by a pool."""

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
    """When the connection with this record was made, on the monotonic clock.

    A connection of an engine that existed before its guard counts from its first loan.
    """
    return float(info.setdefault(_CONNECTED, time.monotonic()))


class PoolGuard:
    """Looks at each connection that the pool of an engine is about to lend, and replaces those that are of no use.

    Of no use is a connection that is closed, which costs nothing to find out, and one that is older than a failure that
    is likely to concern all connections: the server has gone, or takes no writes any more.
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

    def invalidate_idle(self) -> None:
        """Have every connection that exists now replaced before it is lent again."""
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
            # Without a farewell to the server, which may not answer.
            driver.terminate()
            raise DisconnectionError("the connection is older than a failure of another one")

    def _examine(self, context: ExceptionContext) -> None:
        """Have SQLAlchemy replace not only the connection that failed, but all that are as old.

        A server that works would have cancelled a statement before the driver's timeout, and would have said so. Where
        a network swallows packets, each connection of the pool would otherwise cost one caller its time.
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
