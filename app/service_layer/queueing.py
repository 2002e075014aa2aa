"""The queue of a worker of the bus: bounded by what the commands in it are worth."""

import asyncio
from dataclasses import dataclass
from typing import Any

from app.service_layer.requests import Request


@dataclass(slots=True, eq=False)
class Waiting:
    """A request, whom it is answered to, and since when it waits (on the clock of `time.perf_counter`)."""

    request: Request
    answer: asyncio.Future[Any]
    since: float


class CommandQueue(asyncio.Queue[Waiting]):
    """Is full by the places that commands take in it, so that one which holds many counts as many."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._taken = 0

    def _put(self, item: Waiting) -> None:
        super()._put(item)
        self._taken += item.request.command.places

    def _get(self) -> Waiting:
        item = super()._get()
        self._taken -= item.request.command.places
        return item

    def full(self) -> bool:
        """Whether no more may come. While it is not full a command of any size may."""
        return self._taken >= self.maxsize
