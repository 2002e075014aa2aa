"""The queues in front of the dispatcher: bounded by what the commands in them are worth."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.service_layer.requests import Request


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """A request, the future of its answer, and since when it waits (on the clock of `time.perf_counter`)."""

    request: Request
    answer: asyncio.Future[Any]
    since: float

    @property
    def places(self) -> int:
        """How many places it takes in a queue."""
        return self.request.command.places


class CommandQueue(asyncio.Queue[QueuedRequest]):
    """Is full by the places that commands take in it, so that one which holds many counts as many."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._taken = 0

    def _put(self, item: QueuedRequest) -> None:
        super()._put(item)
        self._taken += item.places

    def _get(self) -> QueuedRequest:
        item = super()._get()
        self._taken -= item.places
        return item

    def full(self) -> bool:
        """Whether no more may come. While it is not full a command of any size may."""
        return self._taken >= self.maxsize


class SideLanes:
    """Runs deferred requests beside the workers: a lane for each routing key, at most `parallel` lanes at a time.

    As long as there is a lane for a key, further requests with the key belong there, so that they keep their order and
    no worker meets the same lock again. A lane ends when it is empty. `answer` runs requests and answers them.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[QueuedRequest]], Awaitable[None]],
        *,
        parallel: int,
        limit: int,
        group_limit: int,
    ) -> None:
        self._answer = answer
        self._limit = limit
        self._group_limit = group_limit
        self._permits = asyncio.Semaphore(parallel)
        self._waiting: dict[str, deque[QueuedRequest]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __contains__(self, key: str) -> bool:
        """Whether requests with the routing key run in a lane now."""
        return key in self._waiting

    def offer(self, queued: QueuedRequest) -> bool:
        """Put a new request into the lane of its key, unless the lane is full; returns whether it was put there."""
        lane = self._waiting[queued.request.command.routing_key]
        if sum(each.places for each in lane) >= self._limit:
            return False
        lane.append(queued)
        return True

    def defer(self, queued: QueuedRequest) -> None:
        """Put a request that a worker has deferred into the lane of its key, and start the lane."""
        key = queued.request.command.routing_key
        if key in self._waiting:
            self._waiting[key].append(queued)
            return
        self._waiting[key] = deque([queued])
        task = asyncio.create_task(self._run(key), name="bus-side-lane")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def join(self) -> None:
        """Wait until all lanes are empty."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> list[QueuedRequest]:
        """Stop all lanes; returns the requests that have not run."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        left = [queued for lane in self._waiting.values() for queued in lane]
        self._waiting.clear()
        return left

    async def _run(self, key: str) -> None:
        lane = self._waiting[key]
        try:
            while lane:
                async with self._permits:
                    await self._answer(_take(lane, self._group_limit))
        finally:
            if not lane:
                del self._waiting[key]


def _take(lane: deque[QueuedRequest], limit: int) -> list[QueuedRequest]:
    """The first requests of the lane, as many as one group takes."""
    taken = [lane.popleft()]
    size = taken[0].request.command.size
    while lane and size < limit:
        taken.append(lane.popleft())
        size += taken[-1].request.command.size
    return taken
