"""The unit of work over PostgreSQL: one connection, one transaction, one group of commands."""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from app.adapters.postgresql.calendar import UTC_CALENDAR, Calendar
from app.adapters.postgresql.cell_work import CellWork, QualifiedConnection
from app.adapters.postgresql.cells import CONTROL
from app.adapters.postgresql.commit_tokens import has_committed
from app.adapters.postgresql.connections import (
    TRANSACTION_TIMEOUT,
    DriverConnections,
    LentConnection,
)
from app.adapters.postgresql.errors import is_lost, is_transient, translate
from app.adapters.postgresql.messages import SqlDeadLetterBox
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.pool_guard import is_unusable
from app.adapters.postgresql.product_repository import SqlProductRepository
from app.adapters.postgresql.products_over_cells import ProductsOverCells
from app.adapters.postgresql.rows import CommitRow
from app.adapters.postgresql.work_over_cells import WorkOverCells
from app.adapters.postgresql.writes import NOTE_COMMIT
from app.domain.events import Event
from app.domain.product import Product
from app.integration.outbound import to_message
from app.observability import metrics
from app.service_layer.cart_ports import CartRepository
from app.service_layer.cells import ONE_CELL, CellMap
from app.service_layer.ports import Answers, Cause, Inbox, OrderRepository, Outbox, TemporarilyUnavailableError

log = logging.getLogger(__name__)

BEGIN_TIMEOUT = 3.0
"""Seconds. BEGIN waits only for the network, so a dead connection of the pool is found soon."""

COMMIT_TIMEOUT = 15.0
"""Seconds after which a COMMIT counts as unanswered. Only callers of large requests wait that long."""

LATE = 0.9
"""A connection that is lost after this part of the transaction's time limit is taken to have met the limit."""

ROLLBACK_TIMEOUT = 2.0


class SqlUnitOfWork:
    """Implements `UnitOfWork`.

    It uses asyncpg directly: a group makes only a few round trips, and SQLAlchemy would cost more for each statement
    than the handlers do. `on_commit` is called after each commit of events, to wake the relay. `calendar` has
    the time to use for the ends of holds and for goods that expire, given that of the database.
    """

    _begin = "BEGIN"
    _is_locking = True

    products: SqlProductRepository | ProductsOverCells
    orders: OrderRepository
    carts: CartRepository
    answers: Answers
    outbox: Outbox
    inbox: Inbox
    dead_letters: SqlDeadLetterBox

    def __init__(
        self,
        connections: DriverConnections,
        on_commit: Callable[[], None] = lambda: None,
        calendar: Calendar = UTC_CALENDAR,
        cells: CellMap = ONE_CELL,
    ) -> None:
        self._connections = connections
        self._cells = cells
        self._on_commit = on_commit
        self._calendar = calendar
        self._lent: LentConnection
        self._connection: PipelinedConnection
        self._events: list[Event] = []
        self._work: CellWork | WorkOverCells
        self._is_open = False
        self._is_lost = False
        self._began = time.monotonic()
        self.event_count = 0
        self.cause = Cause(causation_id="", correlation_id="")

    async def __aenter__(self) -> Self:
        """Take a connection and begin."""
        try:
            self._lent = await self._connections.lend()
        except Exception as error:
            raise self._as_port_error(error) from error
        self._connection = PipelinedConnection(self._lent.driver)
        self._began = time.monotonic()
        self._is_open = True
        self._start_work()
        try:
            await self._connection.execute(self._begin, timeout=BEGIN_TIMEOUT)
        except BaseException as error:
            self._is_lost = is_unusable(error)
            await _uninterrupted(self._close())
            if isinstance(error, Exception):
                raise self._as_port_error(error) from error
            raise
        return self

    def _start_work(self) -> None:
        control = self._connection
        if self._cells.number == 1:
            self._work = CellWork(self._connection, self._calendar, is_locking=self._is_locking)
        else:
            self._work = WorkOverCells(self._connection, self._calendar, self._cells, is_locking=self._is_locking)
            control = QualifiedConnection(self._connection, CONTROL)
        self.products = self._work.products
        self.orders = self._work.orders
        self.carts = self._work.carts
        self.answers = self._work.answers
        self.outbox = self._work.outbox
        self.inbox = self._work.inbox
        self.dead_letters = SqlDeadLetterBox(control)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Roll back what was not committed, and return the connection even if the task is cancelled."""
        self._is_lost = self._is_lost or is_unusable(exc)
        await _uninterrupted(self._close())
        if isinstance(exc, Exception) and is_transient(exc):
            raise self._as_port_error(exc) from exc

    def raise_event(self, event: Event) -> None:
        """Keep the event for `collect_events`."""
        self._events.append(event)

    def collect_events(self) -> None:
        """Put the events of the command into the outbox, those that belong to no product first."""
        events, self._events = self._events, []
        self._add_to_outbox([*events, *self.products.take_events()])

    async def flush(self, product: Product, done: Iterable[str] = ()) -> None:
        """Write the product, its batches, the lines of the orders `done`, and the events of the product so far."""
        self._add_to_outbox(product.drain_events())
        await self._work.flush(product, done)

    async def flush_all(self) -> None:
        """Write what has changed of all products and all events so far."""
        await self._work.flush_all()

    def _add_to_outbox(self, events: Sequence[Event]) -> None:
        for event in events:
            self.outbox.add(to_message(event), self.cause)
        self.event_count += len(events)

    async def commit(self) -> None:
        """Write the differences in bulk, outbox included, and commit."""
        token = uuid.uuid4()
        note = {NOTE_COMMIT: [CommitRow(self._lent.name, token)]}
        noted_in = await self._work.write(note, is_needed=self.dead_letters.has_written)
        try:
            await _uninterrupted(self._commit())
        except Exception as error:
            self._is_lost = is_unusable(error)
            if noted_in is None or not is_transient(error):
                raise
            if not await has_committed(self._connections, self._lent.name, token, noted_in or None):
                raise
        if self.event_count:
            self._on_commit()

    async def _commit(self) -> None:
        # After a timeout of its own the driver asks the server to cancel. A COMMIT that waits for a synchronous standby
        # would then be reported as done, and a failover could lose it. So the connection ends, and the wait goes on.
        timer = asyncio.get_running_loop().call_later(COMMIT_TIMEOUT, self._lent.driver.terminate)
        try:
            answer = await self._connection.execute("COMMIT", timeout=2 * COMMIT_TIMEOUT)
        finally:
            timer.cancel()
        self._is_open = False
        if answer != "COMMIT":
            message = "the transaction had failed, and its commit rolled it back"
            raise RuntimeError(message)

    async def _close(self) -> None:
        """Roll back unless committed, and return the connection; it is discarded where the ROLLBACK fails."""
        is_open, self._is_open = self._is_open, False
        if is_open and self._is_lost:
            # A ROLLBACK would not make the connection usable, and would wait where the server does not answer.
            log.warning("a connection is replaced: the database did not answer, or its server refuses writes")
            await self._connections.throw_away(self._lent)
            return
        try:
            if is_open:
                await self._connection.abandon()
                await self._connection.execute("ROLLBACK", timeout=ROLLBACK_TIMEOUT)
        except Exception as error:  # noqa: BLE001 - the caller gets the first error
            log.warning("a connection was lost: %r", error)
            await self._connections.throw_away(self._lent)
        else:
            await self._connections.give_back(self._lent)

    def _as_port_error(self, error: Exception) -> Exception:
        """The error as the caller gets it: TemporarilyUnavailableError, or the error itself.

        The server ends a session at `transaction_timeout`. The driver may then report a lost connection in place of
        the reason, so a connection that was lost after about that time counts as a time limit.
        """
        lost_late = is_lost(error) and time.monotonic() - self._began > LATE * TRANSACTION_TIMEOUT
        translation = translate(error, has_timed_out=lost_late)
        if isinstance(translation, TemporarilyUnavailableError) and translation.timed_out:
            metrics.time_limits.inc()
        return translation


async def _uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Let the work end even if the task is cancelled: a connection supports one operation at a time."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise
