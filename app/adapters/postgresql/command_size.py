"""Bounds what a command may do to the commands that run beside it or wait for it."""

import asyncio
import time

from app.adapters.postgresql import statements
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.service_layer.ports import TooLargeToShareError

LARGE = 600
"""A command that fetches more lines than this is large. It runs apart from others and has more time."""

LONGEST_PAUSE = 0.1
"""Seconds. After a wait for the database the next pause would be long without a limit."""


class CommandSize:
    """Counts the lines that a command fetches. `is_shared`: other commands run in the same transaction."""

    def __init__(self, connection: PipelinedConnection) -> None:
        self._connection = connection
        self.is_shared = False
        self._is_extended = False
        self._fetched = 0
        self._resumed = time.perf_counter()

    def reset(self) -> None:
        """Start the count of the next command."""
        self._fetched = 0

    async def count(self, sku: str, lines: int) -> None:
        """Count fetched lines. Raises TooLargeToShareError where other commands would wait for a large one.

        Apart from others, a large command gets more time than `transaction_timeout` gives a small one.
        """
        self._fetched += lines
        if self._fetched > LARGE and not self._is_extended:
            if self.is_shared:
                raise TooLargeToShareError(sku)
            self._is_extended = True
            await self._connection.execute(statements.EXTEND_TRANSACTION)
        await self.give_way()

    async def give_way(self) -> None:
        """Pause a large command, half as long as it has run since the last pause.

        Requests beside it need the same processor. Its statements run meanwhile, so it hardly takes longer.
        """
        if self._is_extended:
            await asyncio.sleep(min((time.perf_counter() - self._resumed) / 2, LONGEST_PAUSE))
            self._resumed = time.perf_counter()
