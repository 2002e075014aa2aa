"""Cancellation of tasks that cannot be lost.

A task can lose its cancellation: an exception that is raised while the cancellation unwinds the stack, such as that of
a connection which is closed at the same moment, takes the place of `asyncio.CancelledError`. A loop that catches
exceptions and continues would then never end, and neither would a program that waits for the loop.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

REPEAT_INTERVAL = 10.0
"""Seconds until a task that has not ended is cancelled again. Every clean-up has a shorter limit."""


def raise_if_cancelled() -> None:
    """Raise asyncio.CancelledError if the current task was cancelled.

    Call it first in an `except Exception` of a loop that continues.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def cancel(tasks: Iterable[asyncio.Future[Any]], *, interval: float = REPEAT_INTERVAL) -> None:
    """Cancel the tasks and wait until they have ended; repeat it each `interval` seconds. Exceptions are ignored."""
    tasks = list(tasks)
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=interval)
    # Retrieves the exceptions, which asyncio would log otherwise.
    await asyncio.gather(*tasks, return_exceptions=True)
