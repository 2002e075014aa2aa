"""Compares redundant data of the products of a cell, page by page, and repairs it on request.

Sums are set under the lock of their product. A queue is served by a command on the bus, so that events are published as
for any other change. Events are only checked: a lost one cannot be restored.
"""

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial

from app.adapters.postgresql.counted_sums import CountedBatch, CountedHolds, CountedProduct
from app.adapters.postgresql.fan_out import CellEngine
from app.adapters.postgresql.reconciliation import ReconciliationStore
from app.adapters.postgresql.reconciliation_in_pieces import count_in_pieces
from app.domain.commands import ServeBackorders
from app.observability import metrics
from app.operations.differences import Difference, Kind
from app.operations.patience import with_retries
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import Cause, TemporarilyUnavailableError
from app.service_layer.requests import Request

log = logging.getLogger(__name__)


class ProductReconciliation:
    """One pass over the products of a cell. `repair` fixes what can be fixed; `page_size` bounds the rows in memory.

    Concurrent traffic never causes a difference: each is found in a single snapshot of the database, and a repair
    checks it again under the lock of the product.
    """

    def __init__(self, bus: MessageBus, engine: CellEngine, cause: Cause, *, repair: bool, page_size: int) -> None:
        self._bus = bus
        self._store = ReconciliationStore(engine)
        self._repair = repair
        self._page_size = page_size
        self._engine = engine
        self._known_wrong: dict[str, list[CountedBatch]] = {}
        self.unchecked = 0
        """Products whose comparison failed, each with a line in the log. The others are compared."""
        self._cause = cause

    async def differences(self) -> AsyncIterator[Difference]:
        """Every difference: those of the products by SKU, then those of events without a product.

        Raises TemporarilyUnavailableError if the database stays unavailable.
        """
        async for product in self._products():
            try:
                # Sums first, because the queue is served according to them.
                for examine in (self._batches, self._holds, self._sum_of_queue, self._queue, self._events):
                    async for difference in examine(product):
                        yield difference
            except Exception as error:  # noqa: BLE001 - errors of the database itself are raised again
                self._skip(product.sku, error)
        async for difference in self._events_without_product():
            yield difference

    # --- walking ---------------------------------------------------------------------------------------------------

    async def _products(self) -> AsyncIterator[CountedProduct]:
        after, limit = "", self._page_size
        while True:
            try:
                page = await with_retries(partial(self._store.products, after, limit))
            except TemporarilyUnavailableError as error:
                if not error.timed_out:
                    raise
                # These products have more lines or events than a statement can count within its time limit.
                if limit > 1:
                    limit = max(1, limit // 4)
                    continue
                sku = await with_retries(partial(self._store.next_sku, after))
                if sku is None:
                    return
                async for product in self._large_product(sku):
                    yield product
                after = sku
                continue
            for product in page:
                yield product
            if len(page) < limit:
                return
            after, limit = page[-1].sku, min(self._page_size, 2 * limit)

    async def _large_product(self, sku: str) -> AsyncIterator[CountedProduct]:
        try:
            counted = await with_retries(partial(count_in_pieces, self._engine, sku))
        except Exception as error:  # noqa: BLE001 - errors of the database itself are raised again
            self._skip(sku, error)
            return
        if counted is not None:
            product, self._known_wrong[sku] = counted
            yield product
            self._known_wrong.clear()

    def _skip(self, sku: str, error: Exception) -> None:
        """Skip a product whose comparison failed. Raises the error if the database itself is unavailable."""
        if isinstance(error, TemporarilyUnavailableError) and not error.is_local:
            raise error
        self.unchecked += 1
        metrics.reconcile_failures.inc()
        log.warning("the product %s could not be compared: %r", sku, error)

    async def _wrong_batches(self, sku: str) -> AsyncIterator[list[CountedBatch]]:
        if sku in self._known_wrong:
            known = self._known_wrong[sku]
            for start in range(0, len(known), self._page_size):
                yield known[start : start + self._page_size]
            return
        after = 0
        while page := await with_retries(partial(self._store.wrong_batches, sku, after, self._page_size)):
            yield page
            after = page[-1].number

    # --- examining -------------------------------------------------------------------------------------------------

    async def _batches(self, product: CountedProduct) -> AsyncIterator[Difference]:
        if not product.has_wrong_batches:
            return
        async for page in self._wrong_batches(product.sku):
            wrong = page
            if self._repair:
                numbers = [batch.number for batch in page]
                wrong = await with_retries(partial(self._store.repair_batches, product.sku, numbers))
            for batch in wrong:
                repaired = self._repair and not batch.is_oversold
                if batch.has_wrong_sums:
                    text = _mismatch(batch)
                    if batch.is_oversold:
                        text += _instructions(batch, product)
                    yield Difference(Kind.ALLOCATED_QTY, product.sku, text, repaired)
                if batch.has_wrong_holds:
                    text = f"batch {batch.ref} has {batch.held_qty} held; its lines have {batch.lines_held} held"
                    yield Difference(Kind.HELD_QTY, product.sku, text, repaired)

    async def _holds(self, product: CountedProduct) -> AsyncIterator[Difference]:
        holds: CountedHolds | None = product if product.are_wrong else None
        if holds is not None and self._repair:
            holds = await with_retries(partial(self._store.repair_holds, product.sku))
        if holds is None:
            return
        if holds.held_qty != holds.held_qty_of_lines:
            text = f"the product has {holds.held_qty} held; its lines have {holds.held_qty_of_lines} held"
            yield Difference(Kind.HELD_QTY, product.sku, text, self._repair)
        if holds.has_wrong_end:
            text = f"a hold ends at {_time(holds.first_hold_end)}, the product has {_time(holds.earliest_hold_end)}"
            yield Difference(Kind.HELD_QTY, product.sku, text, self._repair)

    async def _sum_of_queue(self, product: CountedProduct) -> AsyncIterator[Difference]:
        if product.backordered_qty == product.queued_qty:
            return
        sums: tuple[int, int] | None = (product.backordered_qty, product.queued_qty)
        if self._repair:
            sums = await with_retries(partial(self._store.repair_product, product.sku))
        if sums is not None:
            stored, queued = sums
            text = f"the product has {stored}, its queued lines need {queued}"
            yield Difference(Kind.BACKORDERED_QTY, product.sku, text, self._repair)

    async def _queue(self, product: CountedProduct) -> AsyncIterator[Difference]:
        if product.queue_fits:
            repaired = self._repair and await self._serve(product.sku)
            text = f"a line of {product.smallest_queued} waits, and a batch has {product.room} available"
            yield Difference(Kind.QUEUE, product.sku, text, repaired)

    async def _events(self, product: CountedProduct) -> AsyncIterator[Difference]:
        if product.beyond:
            text = f"there are {product.beyond} events up to {product.last_beyond}, the sequence of the product is "
            yield Difference(Kind.EVENTS_BEYOND, product.sku, f"{text}{product.sequence}")
        if product.missing_events:
            text = f"of the events {product.first_event} to {product.sequence}, {product.missing_events} are missing"
            yield Difference(Kind.EVENTS_GAP, product.sku, text)

    async def _events_without_product(self) -> AsyncIterator[Difference]:
        after = ""
        while page := await with_retries(partial(self._store.skus_of_events, after, self._page_size)):
            for sku, is_orphan in page:
                if is_orphan:
                    yield Difference(Kind.EVENTS_BEYOND, sku, "there are numbered events without a product")
            after = page[-1][0]

    async def _serve(self, sku: str) -> bool:
        """Serve the queue. Returns whether it contains no more line that fits."""
        (outcome,) = await self._bus.handle_group([Request(ServeBackorders(sku=sku), self._cause)])
        if isinstance(outcome.error, TemporarilyUnavailableError):
            raise outcome.error
        product = await with_retries(partial(self._store.product, sku))
        return outcome.error is None and not (product is not None and product.queue_fits)


def _mismatch(batch: CountedBatch) -> str:
    stored = (batch.allocated_qty, batch.allocated_lines, batch.shipped_qty)
    counted = (batch.lines_allocated, batch.firm_lines, batch.lines_shipped)
    names = ("{} allocated", "in {} firm lines", "{} shipped")
    wrong = [number for number in range(3) if stored[number] != counted[number]]
    return (
        f"batch {batch.ref} has {', '.join(names[number].format(stored[number]) for number in wrong)}"
        f"; its lines have {', '.join(names[number].format(counted[number]) for number in wrong)}"
    )


def _time(value: datetime | None) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if value else "none"


def _instructions(batch: CountedBatch, product: CountedProduct) -> str:
    """How to repair an oversold batch by hand: the service does not know how many pieces there are.

    A larger quantity serves the queue, according to a sum that is too small. So it must include the whole queue before
    the sum can be repaired. The cut to the true quantity then deallocates the last lines.
    """
    enough = batch.lines_allocated + batch.lines_shipped + product.queued_qty
    return (
        f" of {batch.qty} pieces, which cannot be repaired automatically: PATCH it to a qty of {enough} or more,"
        " run reconcile --repair, then PATCH it to the actual qty"
    )
