"""Retries requests while the database is unavailable, for entrypoints whose callers can wait."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from app.backoff import next_delay
from app.service_layer.ports import TemporarilyUnavailableError
from app.service_layer.requests import Outcome, Request

log = logging.getLogger(__name__)

FIRST_BACKOFF = 0.05
LONGEST_BACKOFF = 2.0

MAX_TIME_LIMITS = 3
"""Times that a request may be stopped at a time limit, run alone. Then it fails permanently."""

Run = Callable[[Sequence[Request]], Awaitable[list[Outcome]]]


async def run_until_available(
    run: Run, requests: Sequence[Request], pause: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> list[Outcome]:
    """Run the requests, and retry those with a transient fault until each has an outcome.

    `pause` waits the seconds given, or raises to give up. A request that exceeds the database's time limits
    `MAX_TIME_LIMITS` times has the TemporarilyUnavailableError of its last attempt as its outcome.
    """
    outcomes = await run(requests)
    stopped: Counter[int] = Counter()
    backoff = 0.0
    while True:
        waiting = []
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome.error, TemporarilyUnavailableError):
                stopped[number] += outcome.error.timed_out
                if stopped[number] < MAX_TIME_LIMITS:
                    waiting.append(number)
        if not waiting:
            return outcomes
        backoff = next_delay(backoff, first=FIRST_BACKOFF, longest=LONGEST_BACKOFF)
        log.warning("%d commands are retried in %.2f s: %s", len(waiting), backoff, outcomes[waiting[0]].error)
        await pause(backoff)
        again = await run([requests[number] for number in waiting])
        for number, outcome in zip(waiting, again, strict=True):
            outcomes[number] = outcome
