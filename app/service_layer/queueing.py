"""The queues in front of the dispatcher. Their limits count items, not commands."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.cancellation import cancel
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
    """A queue whose limit counts the places of commands: a command of 200 items takes 200 places."""

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
        """Whether the limit is reached. A queue that is not full accepts a command of any size."""
        return self._taken >= self.maxsize


class SideLanes:
    """Runs deferred requests beside the workers: a lane for each product, at most `parallel` lanes at a time.

    While a product has a lane, further requests on the product go there, so that they keep their order and no worker
    meets the same lock again. A lane ends when it is empty. `limit` bounds the requests of all lanes together. `answer`
    runs requests and answers them.
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
        self._places = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def __contains__(self, key: str) -> bool:
        """Whether there is a lane for the key: a SKU, or what else requests were deferred by."""
        return key in self._waiting

    def put(self, key: str, queued: QueuedRequest) -> bool:
        """Put a request into the lane of the key, and start the lane; returns whether there was room."""
        if self._places >= self._limit:
            return False
        self._places += queued.places
        if key in self._waiting:
            self._waiting[key].append(queued)
            return True
        self._waiting[key] = deque([queued])
        task = asyncio.create_task(self._run(key), name="bus-side-lane")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def join(self) -> None:
        """Wait until all lanes are empty."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> list[QueuedRequest]:
        """Stop all lanes; returns the requests that have not run."""
        await cancel(self._tasks)
        left = [queued for lane in self._waiting.values() for queued in lane]
        self._waiting.clear()
        return left

    async def _run(self, key: str) -> None:
        lane = self._waiting[key]
        try:
            while lane:
                async with self._permits:
                    await self._answer(self._take(lane))
        finally:
            if not lane:
                del self._waiting[key]

    def _take(self, lane: deque[QueuedRequest]) -> list[QueuedRequest]:
        """The first requests of the lane, as many as one group takes."""
        taken: list[QueuedRequest] = []
        size = 0
        while lane and size < self._group_limit:
            taken.append(lane.popleft())
            size += taken[-1].request.command.size
            self._places -= taken[-1].places
        return taken
