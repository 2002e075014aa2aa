"""Runs requests until the database has answered, for entrypoints whose callers can wait."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from app.service_layer.ports import TemporarilyUnavailableError
from app.service_layer.requests import Outcome, Request

log = logging.getLogger(__name__)

LONGEST_BACKOFF = 2.0

MAX_TIME_LIMITS = 3
"""So many times a request that is run alone may be stopped at a time limit. Then it has failed for good."""

Run = Callable[[Sequence[Request]], Awaitable[list[Outcome]]]


async def run_until_available(
    run: Run, requests: Sequence[Request], pause: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> list[Outcome]:
    """Run the requests, and those that met a transient fault again until each has an outcome.

    `pause` waits so many seconds, or raises where it has been enough. The outcome of a request that is too large for
    the database's time limits is the TemporarilyUnavailableError of its last attempt.
    """
    outcomes = await run(requests)
    stopped: Counter[int] = Counter()
    backoff = 0.0
    while True:
        waiting = []
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome.error, TemporarilyUnavailableError):
                stopped[number] += outcome.error.took_too_long
                if stopped[number] < MAX_TIME_LIMITS:
                    waiting.append(number)
        if not waiting:
            return outcomes
        backoff = min(LONGEST_BACKOFF, 2 * backoff or 0.05)
        log.warning("%d commands wait %.2f s: %s", len(waiting), backoff, outcomes[waiting[0]].error)
        await pause(backoff)
        again = await run([requests[number] for number in waiting])
        for number, outcome in zip(waiting, again, strict=True):
            outcomes[number] = outcome
