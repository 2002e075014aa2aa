"""Repeats work after transient faults of the database."""

import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.service_layer.ports import TemporarilyUnavailableError
from app.service_layer.requests import RetryPolicy

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


async def with_retries(work: Callable[[], Awaitable[Answer]]) -> Answer:
    """Retry after a transient fault: traffic may hold the lock of a popular product beyond the lock timeout."""
    retry = RetryPolicy()
    for attempt in itertools.count(1):
        try:
            return await work()
        except TemporarilyUnavailableError as error:
            if attempt >= retry.attempts or error.timed_out:
                raise
            log.debug("attempt %d: %r", attempt, error)
        await retry.pause(attempt)
    raise AssertionError
