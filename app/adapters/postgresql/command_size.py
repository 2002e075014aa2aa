"""Bounds what a command may do to the commands that run beside it or wait for it."""

from app.adapters.postgresql import statements
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.service_layer.ports import TooLargeToShareError

LARGE = 2000
"""A command that fetches more lines than this is large. It runs apart from others and has more time."""


class CommandSize:
    """Counts the lines that a command fetches. `is_shared`: other commands run in the same transaction."""

    def __init__(self, connection: PipelinedConnection) -> None:
        self._connection = connection
        self.is_shared = False
        self._is_extended = False
        self._fetched = 0

    def reset(self) -> None:
        """Start the count of the next command."""
        self._fetched = 0

    async def count(self, sku: str, lines: int) -> None:
        """Count fetched lines. Raises TooLargeToShareError where other commands would wait for a large one.

        Apart from others, a large command gets more time than `transaction_timeout` gives a small one.
        """
        self._fetched += lines
        if self._fetched <= LARGE or self._is_extended:
            return
        if self.is_shared:
            raise TooLargeToShareError(sku)
        self._is_extended = True
        await self._connection.execute(statements.EXTEND_TRANSACTION)
