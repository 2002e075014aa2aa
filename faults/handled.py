"""Clients of the load that wait until their message has taken effect."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from faults.background import Background
from faults.journal import Entry
from faults.rounds import Round

POLL_SECONDS = 0.05
SETTLE_SECONDS = 30.0


class Handled(Background):
    """Lets each client wait until its message has taken effect, so the order of its messages is known in any case.

    Two consumers may handle messages of one client at the same time, and partitions may change.
    """

    def __init__(self, this: Round, since: float) -> None:
        """Store the configuration; messages before `since` are of no interest."""
        super().__init__("handled")
        self._this = this
        self._since = since
        self._may_send = threading.Event()
        self._may_send.set()
        self._held = 0
        self.received: set[str] = set()

    def keys(self, _: Entry) -> Sequence[str]:
        """Messages are sent once."""
        return ()

    async def settled(self, entry: Entry) -> None:
        """Return when the message has taken effect, or after a timeout, and clients may send."""
        deadline = time.monotonic() + SETTLE_SECONDS
        # Another thread adds to it.
        while not (entry.id in self.received or self._stopping.is_set() or time.monotonic() > deadline):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS / 2)  # poll
        self._held += 1
        while not self._may_send.is_set():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(POLL_SECONDS / 2)  # poll
        self._held -= 1

    @contextmanager
    def senders_stopped(self) -> Iterator[None]:
        """Run the block while no client sends messages and all of their messages have taken effect."""
        self._may_send.clear()
        try:
            clients = self._this.plan.pace.kafka
            self._this.wait_for(lambda: self._held == clients, SETTLE_SECONDS, "the senders stop")
            yield
        finally:
            self._may_send.set()

    def _run(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            since = max(self._since, time.time() - 2 * SETTLE_SECONDS)
            self.received |= self._this.database.received_since(since).keys()
