"""Waiting for a condition instead of for the clock."""

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE = 60.0
"""Seconds to wait for what has to happen. A test that passes does not wait for them, so they suit a slow machine."""


async def eventually(condition: Callable[[], Awaitable[object]], *, seconds: float = PATIENCE) -> None:
    """Return once the condition holds: it neither raises AssertionError nor returns something false.

    Raises the condition's last AssertionError, or one of its own, when the deadline (in seconds) has passed.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if await condition():
                return
            failure = AssertionError("the condition did not come true in time")
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure
        await asyncio.sleep(0.02)  # poll
