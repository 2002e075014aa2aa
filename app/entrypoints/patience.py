"""Runs a group of requests until the database has answered, for those who can wait: nobody stands at the other end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import TemporarilyUnavailableError
from app.service_layer.requests import Outcome, Request

log = logging.getLogger(__name__)

LONGEST_BACKOFF = 2.0


async def handle_patiently(
    bus: MessageBus, requests: Sequence[Request], pause: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> list[Outcome]:
    """Run the requests as one group, again and again while what is wrong may pass by itself.

    `pause` waits so many seconds, or raises where it has been enough. A group that takes too long is halved: what is
    too much for one transaction is not repeated for ever.
    """
    backoff = 0.0
    while True:
        outcomes = await bus.handle_group(requests)
        faults = [outcome.error for outcome in outcomes if isinstance(outcome.error, TemporarilyUnavailableError)]
        if not faults:
            return outcomes
        if len(requests) > 1 and any(fault.took_too_long for fault in faults):
            half = len(requests) // 2
            return [
                *await handle_patiently(bus, requests[:half], pause),
                *await handle_patiently(bus, requests[half:], pause),
            ]
        backoff = min(LONGEST_BACKOFF, 2 * backoff or 0.05)
        log.warning("the database is not available; %d commands wait %.2f s", len(requests), backoff)
        await pause(backoff)
