"""How a process itself is doing: whether its event loop comes round, and how much of its connections is in use."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from app.observability import metrics

INTERVAL = 0.5
"""Seconds between two looks."""
STUCK_AFTER = 15.0
"""Seconds without a look after which the event loop is taken to stand still for good."""

_last_look = -math.inf


def comes_round() -> bool:
    """Whether the event loop does its work. It may be asked from any thread."""
    return time.monotonic() - _last_look < STUCK_AFTER


@asynccontextmanager
async def watched(pools: Mapping[str, Callable[[], int]]) -> AsyncIterator[None]:
    """Measure while the block runs. `pools` say how many of their connections are in use, without asking anybody."""
    task = asyncio.create_task(_watch(pools), name="vitals")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(pools: Mapping[str, Callable[[], int]]) -> None:
    global _last_look  # noqa: PLW0603 - a process has one event loop
    while True:
        _last_look = time.monotonic()
        for name, in_use in pools.items():
            metrics.pool_connections.labels(name).set(in_use())
        due = time.perf_counter() + INTERVAL
        await asyncio.sleep(INTERVAL)
        metrics.event_loop_lag_seconds.observe(max(0.0, time.perf_counter() - due))
