"""What a unit of work reads and writes in one cell."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import asyncpg

from app.adapters.postgresql.calendar import Calendar
from app.adapters.postgresql.cart_repository import SqlCartRepository
from app.adapters.postgresql.cells import qualified
from app.adapters.postgresql.event_ids import EventIds
from app.adapters.postgresql.idempotency import SqlAnswers
from app.adapters.postgresql.messages import SqlInbox, SqlOutbox
from app.adapters.postgresql.order_repository import SqlOrderRepository
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.product_repository import SqlProductRepository
from app.adapters.postgresql.writes import Writes, statement_of
from app.domain.product import Product


class QualifiedConnection(PipelinedConnection):
    """The connection of a unit of work, whose statements run in one schema."""

    def __init__(self, connection: PipelinedConnection, schema: str | None) -> None:
        self._connection = connection
        self._schema = schema

    async def start(self, statement: str, *arguments: Any) -> None:
        """See `PipelinedConnection.start`."""
        await self._connection.start(qualified(statement, self._schema), *arguments)

    async def settle(self) -> None:
        """See `PipelinedConnection.settle`."""
        await self._connection.settle()

    async def abandon(self) -> None:
        """See `PipelinedConnection.abandon`."""
        await self._connection.abandon()

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """See `PipelinedConnection.fetch`."""
        return await self._connection.fetch(qualified(statement, self._schema), *arguments)

    async def fetchval(self, statement: str, *arguments: Any) -> Any:  # noqa: ANN401 - see the base class
        """See `PipelinedConnection.fetchval`."""
        return await self._connection.fetchval(qualified(statement, self._schema), *arguments)

    async def execute(self, statement: str, *arguments: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - as the driver has it
        """See `PipelinedConnection.execute`."""
        return await self._connection.execute(qualified(statement, self._schema), *arguments, timeout=timeout)


class CellWriter:
    """The writes of a unit of work in one cell.

    The repository of products refers to it, so it must not refer to the repositories: in a cycle of references, all
    that a transaction has read stays in memory until the garbage collector runs, which then takes a tenth of the
    processor time of a group.
    """

    def __init__(
        self, connection: PipelinedConnection, before_write: Callable[[Writes], Awaitable[None]] | None = None
    ) -> None:
        """`before_write` runs before all writes, with what is about to be written."""
        self._connection = connection
        self._before_write = before_write
        self.has_flushed = False

    async def start(self, writes: Writes) -> None:
        """Start to do the writes in one statement."""
        if any(writes.values()):
            await self._prepare(writes)
            self.has_flushed = True
            statement, arguments = statement_of(writes)
            await self._connection.start(statement, *arguments)

    async def execute(self, writes: Writes) -> None:
        """Do the writes in one statement."""
        await self._prepare(writes)
        statement, arguments = statement_of(writes)
        await self._connection.execute(statement, *arguments)

    async def _prepare(self, writes: Writes) -> None:
        if self._before_write is not None:
            await self._before_write(writes)


class CellWork:
    """The repositories of one cell, on the connection of the unit of work, and the writes of what they have changed."""

    def __init__(
        self,
        connection: PipelinedConnection,
        calendar: Calendar,
        *,
        is_locking: bool,
        before_write: Callable[[Writes], Awaitable[None]] | None = None,
    ) -> None:
        """`before_write` runs before all writes, with what is about to be written."""
        self.connection = connection
        self.writer = CellWriter(connection, before_write)
        ids = EventIds(connection)
        self.products = SqlProductRepository(connection, calendar, ids if is_locking else None, self.writer.start)
        self.orders = SqlOrderRepository(connection, locking=is_locking)
        self.carts = SqlCartRepository(connection)
        self.answers = SqlAnswers(connection)
        self.outbox = SqlOutbox(ids)
        self.inbox = SqlInbox(connection)

    async def flush(self, product: Product, done: Iterable[str]) -> None:
        """See `UnitOfWork.flush`."""
        await self.writer.start({**self.products.changes_of(product, done), **await self.outbox.take_changes()})
        self.products.forget(product, done)
        await self.products.give_way()

    async def flush_all(self) -> None:
        """Start to write what has changed of the products, and the events."""
        await self.writer.start({**self.products.changes(), **await self.outbox.take_changes()})

    async def write(self, note: Writes, *, is_needed: bool) -> str | None:
        """Write all changes in one statement, with the note of the commit.

        The note is written if anything is, if anything was flushed before, or if it `is_needed`. Returns its schema,
        an empty text for that of the connection, or None if it was not written.
        """
        writes = await self.take_writes()
        if not (is_needed or self.writer.has_flushed or any(writes.values())):
            return None
        await self.writer.execute({**writes, **note})
        return ""

    async def take_writes(self) -> Writes:
        """The writes of all changes since the last call."""
        writes = {**self.products.changes(), **self.orders.changes(), **self.carts.changes()}
        return {**writes, **self.answers.changes(), **await self.outbox.take_changes()}
