"""How a process itself is doing: whether its event loop comes round, and how much of its connections is in use."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from app.cancellation import cancel
from app.observability import metrics

INTERVAL = 0.5
"""Seconds between two looks."""
STUCK_AFTER = 15.0
"""Seconds without a look after which the event loop is taken to stand still for good."""


class Pulse:
    """When an event loop came round last. It may be asked from any thread."""

    def __init__(self) -> None:
        self._last = -math.inf

    def beat(self) -> None:
        """It comes round."""
        self._last = time.monotonic()

    def is_felt(self) -> bool:
        """Whether the event loop does its work."""
        return time.monotonic() - self._last < STUCK_AFTER


PULSE = Pulse()
"""Of the process, which has one event loop."""


@asynccontextmanager
async def watched(pools: Mapping[str, Callable[[], int]], pulse: Pulse = PULSE) -> AsyncIterator[None]:
    """Measure while the block runs. `pools` say how many of their connections are in use, without asking anybody."""
    task = asyncio.create_task(_watch(pools, pulse), name="vitals")
    try:
        yield
    finally:
        await cancel([task])


async def _watch(pools: Mapping[str, Callable[[], int]], pulse: Pulse) -> None:
    while True:
        pulse.beat()
        for name, in_use in pools.items():
            metrics.pool_connections.labels(name).set(in_use())
        due = time.perf_counter() + INTERVAL
        await asyncio.sleep(INTERVAL)
        metrics.event_loop_lag_seconds.observe(max(0.0, time.perf_counter() - due))
