"""The reader: one more client over HTTP, which reads what others have just changed.

So a read that does not show a change that was answered before is found, above all where the change was made by another
process than the one that is asked.
"""

import asyncio
import itertools
import time
from collections.abc import Callable

from faults.client import Connection, NoAnswerError
from faults.journal import Answer, Entry, Journal, Read

OK, MISSING = 200, 404


class Reader:
    """Reads in turn the product and the order of the command that was answered last."""

    def __init__(self, journal: Journal, ports: Callable[[], list[int]], per_second: float) -> None:
        """`ports` returns the present HTTP ports; they are asked in turn."""
        self._journal = journal
        self._ports = ports
        self._interval = 1 / per_second
        self._connections: dict[int, Connection] = {}

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Read at the given pace until it is over. A read without an answer is not repeated."""
        due = time.monotonic()
        try:
            for turn in itertools.count():
                if is_over():
                    return
                await asyncio.sleep(due - time.monotonic())
                due = max(due + self._interval, time.monotonic())
                latest = next(self._journal.answers(), None)
                if latest is not None:
                    await self._read(latest[0], turn)
        finally:
            for connection in self._connections.values():
                connection.close()

    async def _read(self, entry: Entry, turn: int) -> None:
        # Both kinds are asked of each process.
        is_product = turn % 4 < 2 or "order_id" not in entry.data
        sku = min(entry.skus, default="") if is_product else ""
        order_id = entry.data.get("order_id", "") if not sku else ""
        ports = self._ports()
        port = ports[turn % len(ports)]
        connection = self._connections.setdefault(port, Connection(port))
        path = f"/v1/products/{sku}" if sku else f"/v1/allocations/{order_id}"
        sent = time.time()
        try:
            status, body = await connection.request("GET", path)
        except NoAnswerError:
            return
        if status in {OK, MISSING}:
            answer = Answer(sent, time.time(), status, body)
            self._journal.note_read(Read(f"read.{turn}", answer, sku, order_id))
