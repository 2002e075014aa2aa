"""Reads the aggregates in one snapshot of the database, without locks."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.adapters.postgresql.calendar import UTC_CALENDAR, Calendar
from app.adapters.postgresql.cells import Cells
from app.adapters.postgresql.connections import DriverConnections
from app.adapters.postgresql.unavailable import DatabaseUnavailableError, Reason
from app.adapters.postgresql.unit_of_work import SqlUnitOfWork
from app.service_layer.lock_sets import LockSet
from app.service_layer.ports import UnitOfWork

Result = TypeVar("Result")


class SnapshotUnitOfWork(SqlUnitOfWork):
    """A unit of work that reads one snapshot, takes no locks and is never committed.

    A handler runs on it as on any other unit of work. Its changes are discarded with its events. The server refuses
    every write.
    """

    _begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    _is_locking = False


class Snapshots:
    """Runs work on snapshots of one database.

    A snapshot has all cells of a server at one moment, because it is one transaction. Cells on other servers are read
    there by transactions of their own, each at its own moment.
    """

    def __init__(self, cells: Cells, calendar: Calendar = UTC_CALENDAR) -> None:
        self._cells = cells.map
        self._connections = DriverConnections(cells.control)
        self._calendar = calendar

    async def run(self, locks: LockSet, work: Callable[[UnitOfWork], Awaitable[Result]]) -> Result:
        """The result of the work on a snapshot that holds the rows of the lock set; nothing is locked.

        If the connection is lost, the work runs once more on another one. Raises DatabaseUnavailableError, and what the
        work raises.
        """
        try:
            return await self._run(locks, work)
        except DatabaseUnavailableError as error:
            if error.reason is not Reason.CONNECTION_LOST:
                raise
        return await self._run(locks, work)

    async def _run(self, locks: LockSet, work: Callable[[UnitOfWork], Awaitable[Result]]) -> Result:
        async with SnapshotUnitOfWork(self._connections, calendar=self._calendar, cells=self._cells) as uow:
            if locks.orders:
                await uow.orders.load(locks)
            await uow.products.load(locks)
            return await work(uow)
