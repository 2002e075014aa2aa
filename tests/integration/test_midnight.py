"""Goods expire at the end of their last day, in the time zone of the shop."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.calendar import Calendar
from app.adapters.postgresql.overdue_products import expired_products
from app.domain.commands import (
    Allocate,
    CancelAllocation,
    ChangeBatchQuantity,
    ChangeBatchTerms,
    CreateBatch,
    ExpireHolds,
    SetReorderPoint,
)
from app.service_layer.messagebus import MessageBus
from app.settings import Settings
from tests.support.database import bus_over, play
from tests.support.holds import MovableClock

DAY = date(2031, 3, 29)
MICROSECOND = timedelta(microseconds=1)


def bus_in(zone: str, engine: AsyncEngine, clock: MovableClock) -> MessageBus:
    return bus_over(engine, calendar=Calendar(ZoneInfo(zone), clock))


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(datetime(2031, 3, 29, 12, tzinfo=UTC))


async def events_of(engine: AsyncEngine, sku: str) -> list[str]:
    async with engine.connect() as connection:
        rows = await connection.scalars(
            text("SELECT type FROM events WHERE subject = :sku ORDER BY sequence"), {"sku": sku}
        )
        return list(rows)


def line(order_id: str, **terms: Any) -> Allocate:
    return Allocate(order_id=order_id, sku="MILK", qty=1, **terms)


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("UTC", datetime(2031, 3, 30, tzinfo=UTC)),
        ("Asia/Kolkata", datetime(2031, 3, 29, 18, 30, tzinfo=UTC)),
        # Summer time begins on the 30th, so the next day has 23 hours.
        ("Europe/Berlin", datetime(2031, 3, 29, 23, tzinfo=UTC)),
    ],
)
async def test_a_batch_expires_at_midnight_and_not_a_microsecond_before(
    engine: AsyncEngine, clock: MovableClock, zone: str, midnight: datetime
) -> None:
    bus = bus_in(zone, engine, clock)
    await play(bus, CreateBatch(ref="milk", sku="MILK", qty=10, best_before=DAY))
    clock.now = midnight - MICROSECOND
    (before,) = await play(bus, line("before"))
    clock.now = midnight
    (after,) = await play(bus, line("after"))
    assert before.result.allocation.batch_ref == "milk"
    assert after.result.allocation.status == "backordered"


async def test_the_day_that_has_23_hours_ends_an_hour_earlier(engine: AsyncEngine, clock: MovableClock) -> None:
    bus = bus_in("Europe/Berlin", engine, clock)
    await play(bus, CreateBatch(ref="milk", sku="MILK", qty=10, best_before=date(2031, 3, 30)))
    clock.now = datetime(2031, 3, 30, 22, tzinfo=UTC) - MICROSECOND
    (before,) = await play(bus, line("before"))
    clock.now += MICROSECOND
    (after,) = await play(bus, line("after"))
    assert (before.result.allocation.status, after.result.allocation.status) == ("allocated", "backordered")


async def test_stock_that_expires_makes_a_product_low_on_stock_once(engine: AsyncEngine, clock: MovableClock) -> None:
    bus = bus_in("UTC", engine, clock)
    await play(
        bus,
        CreateBatch(ref="milk", sku="MILK", qty=10, best_before=DAY),
        CreateBatch(ref="more", sku="MILK", qty=3, best_before=DAY + timedelta(days=1)),
        SetReorderPoint(sku="MILK", qty=5),
    )
    assert "low_stock.v1" not in await events_of(engine, "MILK")
    clock.now = datetime(2031, 3, 30, tzinfo=UTC)
    for _ in range(3):
        await play(bus, ExpireHolds(sku="MILK"))
    assert (await events_of(engine, "MILK")).count("low_stock.v1") == 1
    clock.now = datetime(2031, 3, 31, tzinfo=UTC)
    await play(bus, ExpireHolds(sku="MILK"), line("late"))
    assert (await events_of(engine, "MILK")).count("low_stock.v1") == 1
    await play(bus, ChangeBatchTerms(ref="milk", best_before=None))
    assert (await events_of(engine, "MILK")).count("back_in_stock.v1") == 1


async def test_lines_stay_on_a_batch_that_expires(engine: AsyncEngine, clock: MovableClock) -> None:
    bus = bus_in("UTC", engine, clock)
    await play(bus, CreateBatch(ref="milk", sku="MILK", qty=10, best_before=DAY), line("early"))
    clock.now = datetime(2031, 3, 30, tzinfo=UTC)
    (again,) = await play(bus, line("early"))
    assert (again.result.allocation.status, again.result.allocation.batch_ref) == ("allocated", "milk")


@pytest.mark.parametrize("days", [1, 2])
async def test_a_batch_that_has_expired_serves_no_line_where_a_command_names_it(
    engine: AsyncEngine, clock: MovableClock, days: int
) -> None:
    """Also where nothing expires on that day, because it did on one before."""
    bus = bus_in("UTC", engine, clock)
    await play(bus, CreateBatch(ref="milk", sku="MILK", qty=10, best_before=DAY), line("early"))
    clock.now += timedelta(days=1)
    await play(bus, ExpireHolds(sku="MILK"), line("late"))
    clock.now += timedelta(days=days - 1)
    (changed,) = await play(bus, ChangeBatchQuantity(ref="milk", qty=20))
    (cancelled,) = await play(bus, CancelAllocation(order_id="early", sku="MILK"))
    (again,) = await play(bus, line("late"))
    assert (changed.result.batch.available_qty, cancelled.error) == (0, None)
    assert again.result.allocation.status == "backordered"


async def test_stock_that_comes_back_to_a_batch_expires_with_it(engine: AsyncEngine, clock: MovableClock) -> None:
    bus = bus_in("UTC", engine, clock)
    await play(
        bus,
        CreateBatch(ref="milk", sku="MILK", qty=1, best_before=DAY),
        SetReorderPoint(sku="MILK", qty=1),
    )
    await play(bus, line("takes-all", hold_for=600))
    clock.now += timedelta(seconds=601)
    (placed,) = await play(bus, line("gets-it"))
    assert placed.result.allocation.batch_ref == "milk"
    clock.now = datetime(2031, 3, 30, tzinfo=UTC)
    (late,) = await play(bus, line("late"))
    assert late.result.allocation.status == "backordered"


def test_a_time_zone_that_does_not_exist_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="should be the name of a time zone"):
        Settings(_env_file=None, time_zone="Europe/Nowhere")


async def test_the_sweeper_finds_products_with_batches_that_have_expired(
    engine: AsyncEngine, clock: MovableClock
) -> None:
    bus = bus_in("UTC", engine, clock)
    clock.now = datetime.now(UTC) - timedelta(days=3)
    await play(
        bus,
        CreateBatch(ref="milk", sku="MILK", qty=10, best_before=clock.now.date()),
        CreateBatch(ref="salt", sku="SALT", qty=10),
        CreateBatch(ref="rice", sku="RICE", qty=10, best_before=clock.now.date() + timedelta(days=9)),
    )
    assert await expired_products(engine, limit=10) == ["MILK"]
    clock.now = datetime.now(UTC)
    await play(bus, ExpireHolds(sku="MILK"))
    assert await expired_products(engine, limit=10) == []
