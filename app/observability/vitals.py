"""The health of the process itself: delays of its event loop, and its database connections in use."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from app.cancellation import cancel
from app.observability import metrics

INTERVAL = 0.5
"""Seconds between measurements."""
STUCK_AFTER = 15.0
"""Seconds without a heartbeat after which the event loop counts as blocked."""


class EventLoopHeartbeat:
    """The time of the last heartbeat of an event loop. Safe to use from any thread."""

    def __init__(self) -> None:
        self._last = -math.inf

    def beat(self) -> None:
        """Record a heartbeat."""
        self._last = time.monotonic()

    def is_alive(self) -> bool:
        """Whether there was a heartbeat in the last `STUCK_AFTER` seconds."""
        return time.monotonic() - self._last < STUCK_AFTER


HEARTBEAT = EventLoopHeartbeat()
"""The heartbeat of the process, which has one event loop."""


@asynccontextmanager
async def monitored(
    pools: Mapping[str, Callable[[], int]], heartbeat: EventLoopHeartbeat = HEARTBEAT
) -> AsyncIterator[None]:
    """Measure while the block runs. `pools` return the numbers of their connections in use."""
    task = asyncio.create_task(_monitor(pools, heartbeat), name="vitals")
    try:
        yield
    finally:
        await cancel([task])


async def _monitor(pools: Mapping[str, Callable[[], int]], heartbeat: EventLoopHeartbeat) -> None:
    while True:
        heartbeat.beat()
        for name, in_use in pools.items():
            metrics.pool_connections.labels(name).set(in_use())
        due = time.perf_counter() + INTERVAL
        await asyncio.sleep(INTERVAL)
        metrics.event_loop_lag_seconds.observe(max(0.0, time.perf_counter() - due))
