"""The relay: publishes what is committed to the outbox, in order for each SKU, and forgets it once acknowledged.

Nothing is locked while it sends. For each partition one batch is on its way at a time, and the next goes only after the
broker has acknowledged it; so whatever fails, and however often it is sent again, a reader sees the first occurrences
of the events of a SKU in their order.

Two tasks share the partitions. One publishes to all that take their events. A partition that refuses passes to the
other, which tries it again at growing intervals and works off what has piled up, by a producer of its own; so its
failures and its backlog cost the others nothing. docs/decisions/0024 says why neither reads from the first row.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaProducer

from app.adapters.kafka import clients
from app.adapters.postgresql.outbox import OutboxListener, OutboxReader, OutboxRow, OutboxSignal
from app.backoff import next_delay
from app.cancellation import raise_if_cancelled
from app.entrypoints.kafka.publisher import SEND_TIMEOUT, EventPublisher, Sender, age_in_seconds, by_partition
from app.entrypoints.kafka.relay_positions import Positions, Refusal
from app.observability import metrics

__all__ = ["SEND_TIMEOUT", "EventPublisher", "Relay"]

log = logging.getLogger(__name__)

POLL_INTERVAL = 0.5
"""Seconds between looks at the outbox where no signal comes."""

READ_LIMIT = 2000
FIRST_REFUSAL = 0.2
LONGEST_REFUSAL = 60.0
"""Seconds for which a partition that has refused is passed over: at first, and when it goes on refusing."""
FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 2.0
CLAIMS_IN_A_LEASE = 3
COUNT_INTERVAL = 10.0
"""Seconds between counts of what waits; a count costs as much as there is."""
LOOK_BACK_INTERVAL = 15.0
"""Seconds between looks at a page of what should not be waiting any more, in case that a position is wrong."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """Rows to publish, by partition, and the id up to which those who asked have then dealt with everything."""

    queues: dict[int, list[OutboxRow]]
    position: int
    oldest: OutboxRow | None
    reached: float


class Relay:
    """Runs until it is cancelled, whatever happens to the database or the broker meanwhile."""

    def __init__(
        self,
        outbox: OutboxReader,
        signal: OutboxSignal,
        listener: OutboxListener,
        start_producer: Callable[[], Awaitable[AIOKafkaProducer]],
        *,
        topic: str,
        source: str,
        lease: float,
    ) -> None:
        self._outbox = outbox
        self._signal = signal
        self._listener = listener
        self._sender = Sender(outbox, start_producer, topic=topic, source=source)
        self._retrier = Sender(outbox, start_producer, topic=topic, source=source)
        self._claim_interval = lease / CLAIMS_IN_A_LEASE
        self._empty_claims = 0
        self._shards: list[int] = []
        self._claimed_at = -math.inf
        self._counted_at = -math.inf
        self._partitions: list[int] = []
        self._positions = Positions()
        self._is_in_doubt = False
        self._has_refusals = asyncio.Event()
        self._looked_back_at = time.monotonic()
        self._looked_back_to = 0

    async def run(self) -> None:
        """Publish, for ever."""
        async with self._listener:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._repeat(self._publish, self._sender), name="relay-publish")
                    tasks.create_task(self._repeat(self._retry, self._retrier), name="relay-retry")
            finally:
                await asyncio.shield(self._stop())

    async def _repeat(self, step: Callable[[], Awaitable[None]], sender: Sender) -> None:
        backoff = 0.0
        while True:
            try:
                await step()
                backoff = 0.0
            except Exception as error:  # noqa: BLE001 - the relay outlives every fault of its neighbours
                raise_if_cancelled()
                metrics.outbox_failures.inc()
                log.warning("publishing failed and will be tried again: %r", error)
                # What is known may be of a server that is gone.
                self._is_in_doubt = True
                sender.drop()
                backoff = next_delay(backoff, first=FIRST_BACKOFF, longest=LONGEST_BACKOFF)
                await asyncio.sleep(backoff)

    # --- partitions that take their events ---------------------------------------------------------------------------

    async def _publish(self) -> None:
        if time.monotonic() - self._claimed_at >= self._claim_interval:
            await self._claim()
        if not await self._round():
            await self._signal.wait(min(POLL_INTERVAL, self._claim_interval))

    async def _round(self) -> bool:
        """Publish what waits in our shards, up to a limit. Returns whether there was anything."""
        if self._is_in_doubt:
            self._is_in_doubt = False
            self._positions.forget()
        self._positions.take_back()
        if time.monotonic() - self._looked_back_at >= LOOK_BACK_INTERVAL:
            await self._look_back()
        refused = frozenset(self._positions.refused)
        start = self._positions.start
        reading = await self._read(self._sender, start, lambda number, _: number not in refused)
        self._show_ages(reading.oldest)
        published = await self._sender.send(reading.queues)
        for number in published.refused:
            self._refuse(number, Refusal(start, reading.queues[number][0].created_at))
        self._positions.advance(reading.position)
        return bool(reading.queues)

    def _refuse(self, partition: int, refusal: Refusal) -> None:
        seconds = next_delay(refusal.seconds, first=FIRST_REFUSAL, longest=LONGEST_REFUSAL)
        self._positions.refused[partition] = replace(refusal, seconds=seconds, until=time.monotonic() + seconds)
        self._has_refusals.set()

    async def _look_back(self) -> None:
        """Look at a page of the rows that are taken to be published or refused, from the first row on, page by page."""
        self._looked_back_at = time.monotonic()
        # Before the read: what is published meanwhile is not there, or was to be there when these were the positions.
        start = self._positions.start
        limits = {number: refusal.position for number, refusal in self._positions.refused.items()}
        rows = await self._outbox.read(self._shards, READ_LIMIT, after=self._looked_back_to)
        self._looked_back_to = rows[-1].id if len(rows) == READ_LIMIT and rows[-1].id < start else 0
        for number, queue in by_partition(rows, await self._partitions_of(self._sender) if rows else ()).items():
            if queue[0].id <= limits.get(number, start):
                log.warning("event %d waits behind the position of partition %d", queue[0].id, number)
                self._positions.go_back(number, queue[0].id)

    def _show_ages(self, oldest: OutboxRow | None) -> None:
        refused = {number: refusal.oldest for number, refusal in self._positions.refused.items()}
        written = [*refused.values(), *([oldest.created_at] if oldest is not None else ())]
        metrics.outbox_oldest_age.set(age_in_seconds(min(written)) if written else 0.0)
        metrics.set_refused_ages({number: age_in_seconds(since) for number, since in refused.items()})

    # --- partitions that have refused theirs -------------------------------------------------------------------------

    async def _retry(self) -> None:
        """Try the partitions that are due; those that take their events come first, until they have caught up."""
        due = self._positions.due(time.monotonic())
        if not due:
            await self._wait_for_refusals()
            return
        due = {number: refusal for number, refusal in due.items() if not refusal.seconds} or due
        start = min(refusal.position for refusal in due.values())
        reading = await self._read(
            self._retrier, start, lambda number, row_id: number in due and row_id > due[number].position
        )
        published = await self._retrier.send(reading.queues)
        for number, refusal in due.items():
            if self._positions.refused.get(number) is not refusal:
                continue  # What is known was forgotten meanwhile.
            queue = reading.queues.get(number)
            if number in published.refused:
                self._refuse(number, replace(refusal, oldest=reading.queues[number][0].created_at))
            else:
                self._positions.refused[number] = Refusal(
                    max(refusal.position, reading.position),
                    queue[-1].created_at if queue else refusal.oldest,
                    has_caught_up=reading.reached >= self._positions.start,
                )
        if any(refusal.has_caught_up for refusal in self._positions.refused.values()):
            self._signal.received()

    async def _wait_for_refusals(self) -> None:
        waiting = [refusal.until for refusal in self._positions.refused.values() if not refusal.has_caught_up]
        self._has_refusals.clear()
        try:
            async with asyncio.timeout(max(0.0, min(waiting) - time.monotonic()) if waiting else None):
                await self._has_refusals.wait()
        except TimeoutError:
            return

    # --- both --------------------------------------------------------------------------------------------------------

    async def _read(self, sender: Sender, after: int, is_wanted: Callable[[int, int], bool]) -> _Reading:
        """The next rows of our shards that are wanted, by partition and id; from as many pages as it takes to find one.

        What was settled before the first page is read bounds the position: rows behind it may appear between pages.
        """
        settled = await self._outbox.settled()
        oldest = None
        while True:
            rows = await self._outbox.read(self._shards, READ_LIMIT, after=after) if self._shards else []
            oldest = oldest or (rows[0] if rows else None)
            queues = {}
            for number, queue in by_partition(rows, await self._partitions_of(sender) if rows else ()).items():
                if wanted := [row for row in queue if is_wanted(number, row.id)]:
                    queues[number] = wanted
            if len(rows) < READ_LIMIT:
                return _Reading(queues, settled, oldest, math.inf)
            after = rows[-1].id
            if queues:
                return _Reading(queues, min(settled, after), oldest, after)

    async def _partitions_of(self, sender: Sender) -> Sequence[int]:
        """The partitions, the same for both tasks. Raises RuntimeError where they have changed: positions are wrong."""
        partitions = await sender.partitions()
        if partitions != self._partitions and sender is self._sender:
            known, self._partitions = self._partitions, partitions
            if known:
                raise RuntimeError(f"the topic has {len(partitions)} partitions now, and had {len(known)}")
        return self._partitions

    async def _claim(self) -> None:
        self._claimed_at = time.monotonic()
        shards = sorted(await self._outbox.claim())
        if shards != self._shards:
            self._shards = shards
            self._positions.forget()
        metrics.relay_shards.set(len(shards))
        self._empty_claims = 0 if shards else self._empty_claims + 1
        # A whole lease has passed: what another relay held when it vanished is free by now.
        if self._empty_claims == CLAIMS_IN_A_LEASE + 1:
            log.warning("no shard of the outbox is leased to this relay, so it publishes nothing")
        if time.monotonic() - self._counted_at >= COUNT_INTERVAL:
            await self._count()
        try:
            await self._listener.ensure()
        except Exception as error:  # noqa: BLE001 - without signals it polls
            raise_if_cancelled()
            log.info("no signals of other processes come through: %r", error)

    async def _count(self) -> None:
        self._counted_at = time.monotonic()
        try:
            metrics.outbox_pending.set(await self._outbox.pending())
        except Exception as error:  # noqa: BLE001 - a figure for people must not stand in the way of publishing
            log.info("what is pending could not be counted: %r", error)

    async def _stop(self) -> None:
        metrics.set_refused_ages({})
        await asyncio.gather(self._sender.close(), self._retrier.close())
        try:
            async with asyncio.timeout(clients.STOP_TIMEOUT):
                await self._outbox.leave()
        except Exception as error:  # noqa: BLE001 - the leases end by themselves
            log.warning("the shards could not be given back: %r", error)
