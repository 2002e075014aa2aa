"""More load over HTTP than can be served: many clients at once, each with the next request after its answer.

They set items of carts of their own. These are transactions like any other, and have no stock and no events, so the
oracle and the outside judge can ignore them.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from faults.actors import SKUS
from faults.background import Background
from faults.client import Connection, NoAnswerError

REFUSED_PAUSE = 0.2
"""Seconds before the next request of a client that was refused. Real ones wait for `Retry-After`, which is longer."""

DONE, UNAVAILABLE = {200, 201}, 503


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request; `status` None without one. `code` is that of a problem."""

    sent: float
    seconds: float
    status: int | None
    code: str = ""
    retry_after: str = ""


class Flood(Background):
    """Sends requests while its `with` block runs."""

    def __init__(self, ports: Sequence[int], clients: int) -> None:
        """The clients use the ports in turn."""
        super().__init__("flood")
        self._ports = ports
        self._clients = clients
        self.replies: list[Reply] = []

    @property
    def served(self) -> list[Reply]:
        """The requests that took effect."""
        return [reply for reply in self.replies if reply.status in DONE]

    @property
    def shed(self) -> list[Reply]:
        """Those that were refused because too many wait."""
        return [reply for reply in self.replies if reply.code == "overloaded"]

    @property
    def unclear(self) -> list[Reply]:
        """Those with another answer than these, or 503 without `Retry-After`."""
        return [reply for reply in self.replies if not _is_clear(reply)]

    def _run(self) -> None:
        asyncio.run(self._drive())

    async def _drive(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._clients):
                group.create_task(self._ask(number, self._ports[number % len(self._ports)]))

    async def _ask(self, number: int, port: int) -> None:
        choices = random.Random(number)
        async with Connection(port) as connection:
            while not self._stopping.is_set():
                item = {"qty": choices.randint(1, 1000), "unit_price": 100}
                path = f"/v1/carts/flood-{number}/items/{choices.choice(SKUS)}"
                sent = time.time()
                try:
                    status, body = await connection.request("PUT", path, item)
                except NoAnswerError:
                    self.replies.append(Reply(sent, time.time() - sent, None))
                    continue
                code, seconds = (body or {}).get("code", ""), time.time() - sent
                self.replies.append(Reply(sent, seconds, status, code, connection.headers.get("retry-after", "")))
                if status == UNAVAILABLE:
                    await asyncio.sleep(REFUSED_PAUSE)


def middle(replies: Sequence[Reply]) -> float:
    """The median of the seconds; 0 without replies."""
    return median([reply.seconds for reply in replies] or [0.0])


def _is_clear(reply: Reply) -> bool:
    return reply.status in DONE or (reply.status == UNAVAILABLE and reply.retry_after.isdecimal())
