"""The relay of a cell: publishes the events in its outbox, in order for each SKU, and deletes them once acknowledged.

Nothing is locked while it sends. Each partition has one batch in flight, and the next is sent after the broker has
acknowledged it. So a subscriber sees the first deliveries of the events of a SKU in order, whatever fails.

Two tasks share the partitions. One publishes to all partitions that accept their events. A partition that refuses
passes to the other task, which retries it at growing intervals and publishes its backlog with a producer of its own,
so its failures do not delay the others. If a batch is refused for its content, that task halves it until it finds the
event, and refuses only the subject of that event: its later events wait, those of other subjects do not.
docs/decisions/0024 says why neither task reads from the first row. `relays.py` runs the relays of all cells.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from app.adapters.postgresql.outbox_reader import OutboxReader
from app.adapters.postgresql.outbox_rows import OutboxPage, OutboxRow
from app.adapters.postgresql.wake import Wake
from app.backoff import next_delay
from app.cancellation import raise_if_cancelled
from app.entrypoints.kafka.publisher import PublishResult, Sender, age_in_seconds, by_partition
from app.entrypoints.kafka.relay_metrics import RelayMetrics
from app.entrypoints.kafka.relay_positions import Positions, Queue, Refusal, Refused, queue_of
from app.observability import metrics

log = logging.getLogger(__name__)

POLL_INTERVAL = 0.5
"""Seconds between reads of the outbox without a signal."""

ROUND_INTERVAL = 0.05
"""Seconds between the beginnings of two rounds, unless a page was full. Database, broker and subscribers pay for each
round more than for its events. The first event after a pause does not wait."""

READ_LIMIT = 2000
FIRST_REFUSAL = 0.2
LONGEST_REFUSAL = 60.0
"""Seconds for which a refused partition or subject is skipped: the first time, and at most."""
FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 2.0
CLAIMS_IN_A_LEASE = 3
COUNT_INTERVAL = 10.0
"""Seconds between counts of pending events. The cost of a count grows with their number."""
LOOK_BACK_INTERVAL = 15.0
"""Seconds between reads of a page before the position, in case that the position is wrong."""


@dataclass(frozen=True, slots=True)
class _Page:
    """Rows to publish, by partition, and the caller's position once they are published."""

    queues: dict[int, list[OutboxRow]]
    position: int
    oldest: OutboxRow | None
    reached: float

    @property
    def is_last(self) -> bool:
        """Whether no more rows were committed when it was read."""
        return self.reached == math.inf


class Relay:
    """Runs until it is cancelled, through outages of the database and the broker."""

    def __init__(
        self,
        outbox: OutboxReader,
        senders: Sequence[Sender],
        wake: Wake,
        figures: RelayMetrics,
        *,
        claim_interval: float,
        ensure_listening: Callable[[], Awaitable[None]],
        has_neighbours: bool,
    ) -> None:
        self._outbox = outbox
        self._sender, self._retrier = senders
        self._wake = wake
        self._metrics = figures
        self._figures = figures.new_figures()
        self._claim_interval = claim_interval
        self._ensure_listening = ensure_listening
        self._has_neighbours = has_neighbours
        self._empty_claims = 0
        self._shards: list[int] = []
        self._claimed_at = -math.inf
        self._counted_at = -math.inf
        self._partitions: list[int] = []
        self._positions = Positions()
        self._positions_in_doubt = False
        self._has_refusals = asyncio.Event()
        self._looked_back_at = time.monotonic()
        self._looked_back_to = 0

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat(self._publish, self._sender), name="relay-publish")
            tasks.create_task(self._repeat(self._retry, self._retrier), name="relay-retry")

    async def _repeat(self, step: Callable[[], Awaitable[None]], sender: Sender) -> None:
        backoff = 0.0
        while True:
            try:
                await step()
                backoff = 0.0
            except Exception as error:  # noqa: BLE001 - the relay survives every fault of database and broker
                raise_if_cancelled()
                metrics.outbox_failures.inc()
                log.warning("publishing failed and will be retried: %r", error)
                # The positions may be those of a server that was replaced.
                self._positions_in_doubt = True
                sender.drop()
                backoff = next_delay(backoff, first=FIRST_BACKOFF, longest=LONGEST_BACKOFF)
                await asyncio.sleep(backoff)

    # --- partitions that accept their events -------------------------------------------------------------------------

    async def _publish(self) -> None:
        if time.monotonic() - self._claimed_at >= self._claim_interval:
            await self._claim()
        began = time.monotonic()
        page = await self._round()
        # Without neighbours, each signal is that of an event of this cell.
        if page.is_last if page.queues else self._has_neighbours:
            await asyncio.sleep(began + ROUND_INTERVAL - time.monotonic())
        if not page.queues:
            await self._wake.wait(min(POLL_INTERVAL, self._claim_interval))

    async def _round(self) -> _Page:
        """Publish a page of the events in our shards."""
        if self._positions_in_doubt:
            self._positions_in_doubt = False
            self._positions.reset()
        self._positions.take_back()
        if self._positions.start and time.monotonic() - self._looked_back_at >= LOOK_BACK_INTERVAL:
            await self._look_back()
        refused = frozenset(self._positions.refused)
        start = self._positions.start
        page = await self._read(self._sender, start, lambda number, row: not queue_of(refused, number, row.subject))
        self._report_refusals(page.oldest)
        published = await self._sender.send(page.queues)
        for number in published.refused:
            self._refuse((number, None), Refusal(start, page.queues[number][0].created_at), published)
        self._positions.advance(page.position)
        return page

    async def _look_back(self) -> None:
        """Check a page of the rows before the position, which should be published or refused."""
        self._looked_back_at = time.monotonic()
        # Taken before the read: positions may advance during it, past rows that it returns.
        start = self._positions.start
        refused = dict(self._positions.refused)
        rows, reached = await self._outbox.read(self._shards, READ_LIMIT, after=self._looked_back_to)
        self._looked_back_to = int(reached) if reached < start else 0
        missed: dict[Queue | None, int] = {}
        for number, rows_of_it in by_partition(rows, await self._partitions_of(self._sender) if rows else ()).items():
            for row in rows_of_it:
                queue = queue_of(refused, number, row.subject)
                if row.id <= (start if queue is None else refused[queue].position) and queue not in missed:
                    log.warning("event %d is not published and is before the position of partition %d", row.id, number)
                    missed[queue] = row.id - 1
        for queue, position in missed.items():
            self._positions.go_back(queue, position)

    def _report_refusals(self, oldest: OutboxRow | None) -> None:
        refused = self._positions.refused
        written = [refusal.oldest for refusal in refused.values()] + ([oldest.created_at] if oldest else [])
        self._figures.oldest_age = age_in_seconds(min(written)) if written else 0.0
        self._figures.refused_ages = {
            number: age_in_seconds(each.oldest) for (number, subject), each in refused.items() if subject is None
        }
        self._figures.refused_subjects = sum(subject is not None for _, subject in refused)
        self._metrics.set_ages()

    # --- refused partitions and subjects -----------------------------------------------------------------------------

    def _refuse(self, queue: Queue, refusal: Refusal, published: PublishResult) -> None:
        refused = Refused(published.refused[queue[0]], published.unfit.get(queue[0], ()))
        self._positions.refuse(queue, refusal, refused, first=FIRST_REFUSAL, longest=LONGEST_REFUSAL)
        self._has_refusals.set()

    async def _retry(self) -> None:
        """Retry the queues that are due, first those that accept their events again."""
        due = self._positions.due(time.monotonic())
        if not due:
            await self._wait_for_refusals()
            return
        due = {queue: refusal for queue, refusal in due.items() if not refusal.seconds} or due
        start = min(refusal.position for refusal in due.values())

        waiting: dict[Queue, list[OutboxRow]] = {queue: [] for queue in due}

        def is_wanted(number: int, row: OutboxRow) -> bool:
            queue = queue_of(self._positions.refused, number, row.subject)
            if queue not in due or row.id <= due[queue].position:
                return False
            waiting[queue].append(row)
            return True

        page = await self._read(self._retrier, start, is_wanted)
        sizes: dict[int, int] = {}
        for (number, _), refusal in due.items():
            sizes[number] = min(refusal.size, sizes.get(number, refusal.size))
        published = await self._retrier.send(page.queues, sizes)
        for queue, refusal in due.items():
            if self._positions.refused.get(queue) is not refusal:
                continue  # The positions were reset meanwhile.
            rows = waiting[queue]
            if rows and queue[0] in published.refused:
                self._refuse(queue, replace(refusal, oldest=rows[0].created_at), published)
            else:
                self._positions.refused[queue] = Refusal(
                    max(refusal.position, page.position),
                    rows[-1].created_at if rows else refusal.oldest,
                    has_caught_up=page.reached >= self._positions.start,
                )
        if any(refusal.has_caught_up for refusal in self._positions.refused.values()):
            self._wake.set()

    async def _wait_for_refusals(self) -> None:
        waiting = [refusal.until for refusal in self._positions.refused.values() if not refusal.has_caught_up]
        self._has_refusals.clear()
        try:
            async with asyncio.timeout(max(0.0, min(waiting) - time.monotonic()) if waiting else None):
                await self._has_refusals.wait()
        except TimeoutError:
            return

    # --- both --------------------------------------------------------------------------------------------------------

    async def _read(self, sender: Sender, after: int, is_wanted: Callable[[int, OutboxRow], bool]) -> _Page:
        """The next rows of our shards for which `is_wanted(partition, row)`, from as many pages as are needed.

        The id that was settled before the first page bounds the position: later rows may appear between pages.
        """
        settled = await self._outbox.settled()
        oldest, continues = None, False
        while True:
            rows, reached = OutboxPage([], math.inf)
            if self._shards:
                rows, reached = await self._outbox.read(self._shards, READ_LIMIT, after=after, continues=continues)
            oldest = oldest or (rows[0] if rows else None)
            queues = {}
            for number, queue in by_partition(rows, await self._partitions_of(sender) if rows else ()).items():
                if wanted := [row for row in queue if is_wanted(number, row)]:
                    queues[number] = wanted
            if reached == math.inf:
                return _Page(queues, settled, oldest, math.inf)
            after, continues = int(reached), True
            if queues:
                return _Page(queues, min(settled, after), oldest, after)

    async def _partitions_of(self, sender: Sender) -> Sequence[int]:
        """The partitions, the same for both tasks. Raises RuntimeError if they have changed: positions are wrong."""
        partitions = await sender.partitions()
        if partitions != self._partitions and sender is self._sender:
            known, self._partitions = self._partitions, partitions
            if known:
                raise RuntimeError(f"the topic has {len(partitions)} partitions, after {len(known)}")
        return self._partitions

    async def _claim(self) -> None:
        self._claimed_at = time.monotonic()
        shards = sorted(await self._outbox.claim())
        if shards != self._shards:
            self._shards = shards
            self._positions.reset()
        self._figures.shards = len(shards)
        self._metrics.set_shards()
        self._empty_claims = 0 if shards else self._empty_claims + 1
        # A whole lease has passed, so the leases of a relay that died have ended.
        if self._empty_claims == CLAIMS_IN_A_LEASE + 1:
            where = "" if self._outbox.schema is None else f" of {self._outbox.schema}"
            log.warning("this relay has no lease on a shard of the outbox%s, so it publishes nothing", where)
        if time.monotonic() - self._counted_at >= COUNT_INTERVAL:
            await self._count()
        await self._ensure_listening()

    async def _count(self) -> None:
        self._counted_at = time.monotonic()
        try:
            self._figures.pending = await self._outbox.pending()
            self._metrics.set_pending()
        except Exception as error:  # noqa: BLE001 - a metric must not keep the relay from publishing
            log.info("pending events could not be counted: %r", error)
