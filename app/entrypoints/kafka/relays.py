"""The relays of all cells in one process. They share the producers, the listener and the connections of the pool."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaProducer

from app.adapters.kafka import lifecycle
from app.adapters.postgresql.outbox_reader import OutboxReader
from app.adapters.postgresql.outbox_signal import OutboxListener, OutboxSignal
from app.cancellation import raise_if_cancelled
from app.entrypoints.kafka.publisher import Sender, SharedProducer
from app.entrypoints.kafka.relay import CLAIMS_IN_A_LEASE, Relay
from app.entrypoints.kafka.relay_metrics import RelayMetrics
from app.observability import metrics

log = logging.getLogger(__name__)


class Relays:
    """Runs a relay for each outbox until it is cancelled.

    There are two producers for all cells: one for partitions that accept their events, and one for those that refuse.
    """

    def __init__(
        self,
        outboxes: Sequence[OutboxReader],
        signal: OutboxSignal,
        listener: OutboxListener,
        start_producer: Callable[[], Awaitable[AIOKafkaProducer]],
        *,
        topic: str,
        source: str,
        lease: float,
    ) -> None:
        self._outboxes = outboxes
        self._listener = listener
        self._producers = SharedProducer(start_producer), SharedProducer(start_producer)
        self._claim_interval = lease / CLAIMS_IN_A_LEASE
        self._listened_at = -math.inf
        figures = RelayMetrics()
        self._relays = [
            Relay(
                outbox,
                [Sender(outbox, producer, topic=topic, source=source) for producer in self._producers],
                signal.new_wake(),
                figures,
                claim_interval=self._claim_interval,
                ensure_listening=self._ensure_listening,
                has_neighbours=len(outboxes) > 1,
            )
            for outbox in outboxes
        ]

    async def run(self) -> None:
        """Publish until cancelled."""
        async with self._listener:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for relay in self._relays:
                        tasks.create_task(relay.run(), name="relay")
            finally:
                await asyncio.shield(self._stop())

    async def _ensure_listening(self) -> None:
        """Check the listener, once for the claims that the relays make at about the same time."""
        if time.monotonic() - self._listened_at < self._claim_interval / 2:
            return
        self._listened_at = time.monotonic()
        try:
            await self._listener.ensure()
        except Exception as error:  # noqa: BLE001 - without signals the relays poll
            raise_if_cancelled()
            log.info("the relay polls, because it cannot listen for signals of other processes: %r", error)

    async def _stop(self) -> None:
        metrics.set_refused_ages({})
        await asyncio.gather(*(producer.close() for producer in self._producers))
        try:
            async with asyncio.timeout(lifecycle.STOP_TIMEOUT):
                await asyncio.gather(*(outbox.leave() for outbox in self._outboxes))
        except Exception as error:  # noqa: BLE001 - the leases expire
            log.warning("the leases could not be released: %r", error)
