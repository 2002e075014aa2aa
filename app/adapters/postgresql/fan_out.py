"""The same work in each cell."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

AT_ONCE = 4
"""In how many cells at a time: each takes a connection of the pool."""

CellEngine = AsyncEngine
"""The engine of a cell, for code that does not import SQLAlchemy."""

Answer = TypeVar("Answer")


async def in_each(engines: Sequence[AsyncEngine], work: Callable[[AsyncEngine], Awaitable[Answer]]) -> list[Answer]:
    """The results for the engines, in their order. Raises the first error; the other work is cancelled."""
    if len(engines) == 1:
        return [await work(engines[0])]
    turns = asyncio.Semaphore(AT_ONCE)

    async def run(engine: AsyncEngine) -> Answer:
        async with turns:
            return await work(engine)

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(run(engine)) for engine in engines]
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return [task.result() for task in running]
