"""Look-ups by key that share their statements: keys that wait are fetched together, without an added delay."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

Value = TypeVar("Value")


class GroupedLookup(Generic[Value]):
    """Implements `get` by `fetch`, which takes many keys and returns the values that it found.

    At most `concurrency` fetches run at a time, of at most `limit` keys each. The result for an unknown key is None. An
    error of a fetch is raised for each of its keys. Nothing is cached: a value is never older than its request.
    """

    def __init__(
        self,
        fetch: Callable[[Sequence[str]], Awaitable[Mapping[str, Value]]],
        *,
        concurrency: int = 2,
        limit: int = 256,
    ) -> None:
        self._fetch = fetch
        self._limit = limit
        self._free = concurrency
        self._waiting: deque[tuple[str, asyncio.Future[Value | None]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, key: str) -> Value | None:
        """The current value of the key."""
        answer: asyncio.Future[Value | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        if self._free:
            self._free -= 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                count = min(len(self._waiting), self._limit)
                group = [self._waiting.popleft() for _ in range(count)]
                group = [(key, answer) for key, answer in group if not answer.done()]
                if group:
                    await self._answer(group)
        finally:
            self._free += 1

    async def _answer(self, group: Sequence[tuple[str, asyncio.Future[Value | None]]]) -> None:
        try:
            found = await self._fetch([key for key, _ in group])
        except Exception as error:  # noqa: BLE001 - raised again for each of the keys
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(error)
            return
        for key, answer in group:
            if not answer.done():
                answer.set_result(found.get(key))
