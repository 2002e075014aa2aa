"""Ends holds of products that no request touches, and lets their batches expire.

Each unit of work does both for the products that it locks, so the sweeper only has to lock a product. A product that is
locked already is left out: the transaction that has it ends its holds.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence

from app.adapters.postgresql.fan_out import CellEngine, in_each
from app.adapters.postgresql.overdue_products import BEFORE_ALL, OverdueProduct, expired_products, overdue_products
from app.bootstrap import Service
from app.cancellation import cancel, raise_if_cancelled
from app.domain.commands import ExpireHolds
from app.service_layer.ports import Cause, TemporarilyUnavailableError
from app.service_layer.requests import Request

log = logging.getLogger(__name__)

INTERVAL = 0.5
"""Seconds between two looks at the database."""

PRODUCTS = 100
"""How many products are swept at a time."""

LATE = 1.0
"""Seconds. A product that stays overdue for so long serves a long queue, and gets a unit of work of its own."""


FAILED_PAUSE = 30.0
"""Seconds for which a product is left out after its holds could not be ended, for example if its sums are wrong."""


class HoldSweeper:
    """Sweeps until it is cancelled."""

    def __init__(self, service: Service) -> None:
        self._engines = service.cells.engines
        self._bus = service.bus
        name = f"sweeper-{uuid.uuid4().hex}"
        self._cause = Cause(name, name)
        self._apart: set[asyncio.Task[None]] = set()
        self._paused_until: dict[str, float] = {}

    async def run(self) -> None:
        """Sweep twice a second, and at once while holds are left."""
        try:
            while True:
                is_done = await self.sweep()
                await asyncio.sleep(INTERVAL if is_done else 0)
        finally:
            await cancel(self._apart)

    async def sweep(self) -> bool:
        """End overdue holds of each product. Returns whether none are left but those of locked products."""
        return all(await in_each(self._engines, self._sweep_if_possible))

    async def _sweep_if_possible(self, engine: CellEngine) -> bool:
        """Sweep the products of one cell. The server of another cell may be away."""
        try:
            return await self._sweep(engine)
        except Exception as error:  # noqa: BLE001 - the next sweep finds the same holds
            raise_if_cancelled()
            log.info("holds that have ended could not be swept: %r", error)
            return True

    async def _sweep(self, engine: CellEngine) -> bool:
        is_done, position = True, BEFORE_ALL
        # All pages, because the products of the first ones may be locked.
        while page := await overdue_products(engine, position, limit=PRODUCTS):
            position = page[-1].position
            found = [product for product in page if not self._is_paused(product.sku)]
            outcomes = await self._bus.run_shared([self._request(product) for product in found])
            deferred = [each for each, outcome in zip(found, outcomes, strict=True) if outcome.deferred]
            self._run_apart([product for product in deferred if product.seconds > LATE])
            is_done = is_done and not any(outcome.result for outcome in outcomes)
            for product, outcome in zip(found, outcomes, strict=True):
                if outcome.error is not None and not isinstance(outcome.error, TemporarilyUnavailableError):
                    self._paused_until[product.sku] = time.monotonic() + FAILED_PAUSE
        return is_done and await self._sweep_expired(engine)

    async def _sweep_expired(self, engine: CellEngine) -> bool:
        """Let batches expire. Returns whether there were few."""
        expired = await expired_products(engine, limit=PRODUCTS)
        found = [sku for sku in expired if not self._is_paused(sku)]
        outcomes = await self._bus.run_shared([Request(ExpireHolds(sku=sku), self._cause) for sku in found])
        for sku, outcome in zip(found, outcomes, strict=True):
            if outcome.error is not None and not isinstance(outcome.error, TemporarilyUnavailableError):
                self._paused_until[sku] = time.monotonic() + FAILED_PAUSE
        return len(expired) < PRODUCTS

    def _is_paused(self, sku: str) -> bool:
        until = self._paused_until.get(sku)
        if until is None:
            return False
        if until <= time.monotonic():
            del self._paused_until[sku]
        return sku in self._paused_until

    def _run_apart(self, products: Sequence[OverdueProduct]) -> None:
        if products and not self._apart:
            task = asyncio.create_task(self._wait_and_expire(products[0]), name="hold-sweeper-apart")
            self._apart.add(task)
            task.add_done_callback(self._apart.discard)

    async def _wait_and_expire(self, product: OverdueProduct) -> None:
        (outcome,) = await self._bus.run_apart([self._request(product)])
        if outcome.error is not None:
            log.info("the holds of %s that have ended could not be swept: %r", product.sku, outcome.error)

    def _request(self, product: OverdueProduct) -> Request:
        return Request(ExpireHolds(sku=product.sku), self._cause)
