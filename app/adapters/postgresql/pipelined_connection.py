"""A connection on which a write may be in progress while the next rows are computed."""

import asyncio
import contextlib
from typing import Any

import asyncpg


class PipelinedConnection:
    """An asyncpg connection with `start`, which does not wait for the result of a write.

    The work on a long queue is half Python and half PostgreSQL. With `start` the two run at the same time.
    """

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver
        self._write: asyncio.Task[str] | None = None

    async def start(self, statement: str, *arguments: Any) -> None:
        """Start a write. The next statement waits until the write has ended, and raises its error."""
        await self.settle()
        self._write = asyncio.create_task(self._driver.execute(statement, *arguments))
        # Lets the task send the statement, and other tasks have a turn.
        await asyncio.sleep(0)

    async def settle(self) -> None:
        """Wait for the write that is in progress. Raises its error."""
        if self._write is not None:
            write, self._write = self._write, None
            await write

    async def abandon(self) -> None:
        """Cancel the write that is in progress, so that the connection accepts a ROLLBACK."""
        if self._write is not None:
            self._write.cancel()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await self.settle()

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """The rows of the statement."""
        if self._write is not None:
            await self.settle()
        rows: list[asyncpg.Record] = await self._driver.fetch(statement, *arguments)
        return rows

    async def fetchval(self, statement: str, *arguments: Any) -> Any:  # noqa: ANN401 - whatever the column holds
        """The first value of the first row."""
        if self._write is not None:
            await self.settle()
        return await self._driver.fetchval(statement, *arguments)

    async def execute(self, statement: str, *arguments: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - as the driver has it
        """Run the statement; returns its command tag."""
        if self._write is not None:
            await self.settle()
        tag: str = await self._driver.execute(statement, *arguments, timeout=timeout)
        return tag
