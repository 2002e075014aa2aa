"""The start and the stop of aiokafka clients, so that neither leaves a task or a connection behind."""

import asyncio
import logging
from collections.abc import Iterator
from typing import TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from app.cancellation import cancel

log = logging.getLogger(__name__)

STOP_TIMEOUT = 5.0
"""Seconds for a client to stop. aiokafka itself has no limit."""

TEAR_DOWN_TIMEOUT = 1.0
"""Seconds for the rest of a client that did not stop, or whose start was cancelled."""

Client: TypeAlias = AIOKafkaProducer | AIOKafkaConsumer | AIOKafkaAdminClient


async def start(client: Client) -> None:
    """Start a client. Raises KafkaError. Call `stop` afterwards, also if the start fails or is cancelled.

    aiokafka first asks one broker for the list of all, and leaves that connection open if it is cancelled before the
    answer. So a start that is cancelled may continue for `TEAR_DOWN_TIMEOUT`, to finish, before aiokafka is cancelled.
    """
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        try:
            await asyncio.wait({starting}, timeout=TEAR_DOWN_TIMEOUT)
        finally:  # also if it is cancelled once more
            await cancel({starting})
        raise


async def stop(client: Client) -> None:
    """Stop a client in any state, within `STOP_TIMEOUT` and `TEAR_DOWN_TIMEOUT`."""
    close = asyncio.ensure_future(client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())
    await asyncio.wait({close}, timeout=STOP_TIMEOUT)
    if close.cancelled():
        # aiokafka cancels a fetch that is under way and waits for it, so its own cancellation ends the stop half-way.
        log.info("a Kafka client stopped in the middle of a request and is torn down")
    elif close.done():
        if close.exception() is not None:
            log.warning("a Kafka client did not stop cleanly: %r", close.exception())
        return
    else:
        log.warning("a Kafka client did not stop in %.0f s and is torn down", STOP_TIMEOUT)
    await _tear_down(client, close)


async def _tear_down(client: Client, close: asyncio.Future[None]) -> None:
    """End what aiokafka would leave running: the tasks for sending, fetching and the group, and the connections."""
    tasks = {close, *_tasks_of(client)}
    for task in tasks:
        task.cancel()
    connections = getattr(client, "_client", None) or getattr(client, "client", None)
    if connections is not None:
        tasks.add(asyncio.ensure_future(connections.close()))
    await asyncio.wait(tasks, timeout=TEAR_DOWN_TIMEOUT)


def _tasks_of(client: Client) -> Iterator[asyncio.Future[None]]:
    sender, coordinator = getattr(client, "_sender", None), getattr(client, "_coordinator", None)
    fetcher = getattr(client, "_fetcher", None)
    # A task that fetches would connect again and continue without limit.
    yield from getattr(fetcher, "_pending_tasks", ())
    for task in (
        getattr(sender, "_sender_task", None),
        getattr(fetcher, "_fetch_task", None),
        getattr(coordinator, "_heartbeat_task", None),
        getattr(coordinator, "_commit_refresh_task", None),
        getattr(coordinator, "_reset_committed_task", None),
        getattr(coordinator, "_coordination_task", None),
    ):
        if task is not None:
            yield task
