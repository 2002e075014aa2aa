"""A shop to look at: `allocation dev --demo` fills the database with products, and orders trickle in.

The shop is the same at each first start. Its refs begin with `demo-`.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from app.domain.commands import Allocate, ChangeBatch, Command, CreateBatch, SetReorderPoint
from app.domain.errors import DomainError
from app.service_layer.ports import Cause

PRODUCTS = 240
SECONDS_BETWEEN_ORDERS = 0.8
_AT_ONCE = 40
_KINDS = ("CHAIR", "TABLE", "LAMP", "SHELF", "SOFA", "RUG", "DESK", "VASE", "BENCH", "MIRROR", "CLOCK", "STOOL")
_COLOURS = ("RED", "BLUE", "GREEN", "OAK", "WHITE", "BLACK", "GREY", "BRASS", "LINEN", "WALNUT")
_STYLES = ("", "-SMALL")

Handle = Callable[[Command, Cause], Awaitable[Any]]


class DemoShop:
    """Sends commands to the service as callers would. `handle` runs one and returns after its commit."""

    def __init__(self, handle: Handle, *, pause: float = SECONDS_BETWEEN_ORDERS, zone: tzinfo = UTC) -> None:
        self._handle = handle
        self._pause = pause
        self._zone = zone
        self._random = random.Random(7)  # noqa: S311 - a shop to look at needs no cryptography
        # Orders of a later start are new ones.
        self._start = f"{time.time_ns() // 1_000_000_000:x}"
        self._orders = 0

    @property
    def skus(self) -> list[str]:
        """The products of the shop."""
        names = [f"{colour}-{kind}{style}" for kind in _KINDS for colour in _COLOURS for style in _STYLES]
        return names[:PRODUCTS]

    async def run(self) -> None:
        """Fill the shop, then place orders until the task is cancelled."""
        await self.fill()
        while True:
            await asyncio.sleep(self._pause * self._random.uniform(0.3, 1.7))
            await self._send(self._next())

    async def fill(self) -> None:
        """Record batches, reorder points, delays and a first day of orders. What exists already is left as it is."""
        today = datetime.now(self._zone).date()
        for commands in (self._batches(today), self._points(), self._changes(today), self._first_orders()):
            # Commands of one kind do not depend on each other.
            waiting = list(commands)
            for start in range(0, len(waiting), _AT_ONCE):
                await asyncio.gather(*map(self._send, waiting[start : start + _AT_ONCE]))

    def _batches(self, today: date) -> Iterator[Command]:
        for sku in self.skus:
            yield CreateBatch(ref=f"demo-{sku}-1", sku=sku, qty=self._random.randint(4, 60))
            for number in range(2, 2 + self._random.randint(0, 2)):
                eta = today + timedelta(days=self._random.randint(0, 20))
                yield CreateBatch(ref=f"demo-{sku}-{number}", sku=sku, qty=self._random.randint(10, 80), eta=eta)

    def _points(self) -> Iterator[Command]:
        for sku in self._random.sample(self.skus, PRODUCTS // 2):
            yield SetReorderPoint(sku=sku, qty=self._random.randint(5, 30))

    def _changes(self, today: date) -> Iterator[Command]:
        """Deliveries that are late, and pieces that were damaged."""
        for sku in self._random.sample(self.skus, PRODUCTS // 8):
            yield CreateBatch(
                ref=f"demo-{sku}-late", sku=sku, qty=25, eta=today - timedelta(days=self._random.randint(1, 6))
            )
        for sku in self._random.sample(self.skus, PRODUCTS // 10):
            yield ChangeBatch(ref=f"demo-{sku}-1", qty=3, reason="damaged", reference="water in aisle 7")

    def _first_orders(self) -> Iterator[Command]:
        for _ in range(3 * PRODUCTS):
            yield self._next()

    def _next(self) -> Command:
        self._orders += 1
        order_id = f"demo-{self._start}-{self._orders:05}"
        # A few products are popular.
        sku = self.skus[min(int(self._random.expovariate(1 / (PRODUCTS / 4))), PRODUCTS - 1)]
        qty = self._random.choice((1, 1, 2, 2, 3, 4, 6, 12))
        if self._orders % 12 == 0:
            return Allocate(order_id=order_id, sku=sku, qty=qty, hold_for=900)
        return Allocate(order_id=order_id, sku=sku, qty=qty)

    async def _send(self, command: Command) -> None:
        identifier = str(uuid.uuid4())
        try:
            await self._handle(command, Cause(identifier, identifier, principal="demo"))
        except DomainError:
            # A hold that nothing serves, or a batch of an earlier start, whose ETA was computed on another day.
            return
