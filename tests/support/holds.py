"""Holds under a clock that the test moves."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.calendar import Calendar
from app.domain.commands import HoldOrder, PlaceOrder
from app.service_layer.messagebus import MessageBus
from app.service_layer.requests import RetryPolicy
from tests.support.cells import cells_of
from tests.support.database import bus_over

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class MovableClock:
    """Takes the place of the clock of the database."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self, _now: datetime) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        """Move the clock forward, or with a negative number back."""
        self.now += timedelta(seconds=seconds)


def bus_with_clock(engine: AsyncEngine, clock: MovableClock, retry: RetryPolicy | None = None) -> MessageBus:
    """A bus whose units of work use the clock."""
    return bus_over(engine, retry, calendar=Calendar(clock=clock))


def order(order_id: str, *lines: tuple[str, int], **more: Any) -> PlaceOrder:
    """An order of these pairs of SKU and quantity."""
    wanted = [{"sku": sku, "qty": qty} for sku, qty in lines]
    return PlaceOrder.model_validate({"order_id": order_id, "lines": wanted, **more})


def hold(order_id: str, hold_for: int, *lines: tuple[str, int]) -> HoldOrder:
    """A new end of a hold, and with lines new lines."""
    wanted = {"lines": [{"sku": sku, "qty": qty} for sku, qty in lines]} if lines else {}
    return HoldOrder.model_validate({"order_id": order_id, "hold_for": hold_for, **wanted})


EVENTS = text("SELECT subject, sequence, type, data, xmin::text AS xmin FROM events ORDER BY id")
HELD = text("SELECT count(*) FROM order_lines WHERE held_until IS NOT NULL")


async def events_of(engine: AsyncEngine, subject: str) -> list[Any]:
    """The events of a SKU or an order, oldest first, with the transaction that wrote them."""
    async with cells_of(engine).engine_of(subject).connect() as connection:
        return [row for row in await connection.execute(EVENTS) if row.subject == subject]


async def held_lines(engine: AsyncEngine) -> int:
    """How many lines are held."""
    async with engine.connect() as connection:
        return int((await connection.execute(HELD)).scalar_one())
