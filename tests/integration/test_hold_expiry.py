"""Many holds that end at once: nothing runs on their product before, and no transaction is too large."""

from collections import Counter

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.commands import (
    Allocate,
    AllocateMany,
    CancelOrder,
    ChangeBatchQuantity,
    Command,
    CreateBatch,
    SetReorderPoint,
)
from app.service_layer.messagebus import MessageBus
from app.service_layer.requests import Request
from tests.support.database import CAUSE, labels, play, results
from tests.support.holds import MovableClock, bus_with_clock, events_of, held_lines, order


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def bus(engine: AsyncEngine, clock: MovableClock) -> MessageBus:
    return bus_with_clock(engine, clock)


async def hold_many(bus: MessageBus, sku: str, number: int, seconds: int = 60) -> None:
    """Record a batch of the SKU, and hold it whole in lines of one piece."""
    await results(bus, CreateBatch(ref=f"batch-{sku}", sku=sku, qty=number))
    for start in range(0, number, 1000):
        orders = [f"{sku}-{n}" for n in range(start, min(start + 1000, number))]
        items = tuple(Allocate(order_id=each, sku=sku, qty=1, hold_for=seconds) for each in orders)
        await results(bus, AllocateMany(items=items))


async def queue_many(bus: MessageBus, sku: str, number: int) -> list[str]:
    """Queue lines of one piece; returns their orders."""
    orders = [f"waiting-{n}" for n in range(number)]
    for start in range(0, number, 1000):
        items = tuple(Allocate(order_id=each, sku=sku, qty=1) for each in orders[start : start + 1000])
        await results(bus, AllocateMany(items=items))
    return orders


async def test_each_product_publishes_what_its_holds_did_even_where_its_command_waits(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine
) -> None:
    """A gap in the sequence of a product would stop its readers."""
    await hold_many(bus, "CHAIR", 300)
    await hold_many(bus, "TABLE", 300)
    clock.move(60)
    commands = [Allocate(order_id="new", sku="CHAIR", qty=1), SetReorderPoint(sku="TABLE", qty=1)]

    outcomes = await bus.run_shared([Request(command, CAUSE) for command in commands])

    assert [outcome.deferred for outcome in outcomes] == ["", "TABLE"]
    assert await held_lines(engine) == 100
    for sku in ("CHAIR", "TABLE"):
        events = await events_of(engine, sku)
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert Counter(event.type for event in await events_of(engine, "TABLE"))["hold_released.v1"] == 200


@pytest.mark.parametrize(
    "command", [ChangeBatchQuantity(ref="batch-CHAIR", qty=4000), CancelOrder(order_id="order-1")], ids=["ref", "order"]
)
async def test_a_request_that_names_no_sku_waits_where_the_stock_serves_a_long_queue(
    bus: MessageBus, clock: MovableClock, command: Command, engine: AsyncEngine
) -> None:
    await results(bus, CreateBatch(ref="batch-CHAIR", sku="CHAIR", qty=2600))
    await results(bus, Allocate(order_id="whole", sku="CHAIR", qty=2600, hold_for=60))
    await queue_many(bus, "CHAIR", 2600)
    await results(bus, order("order-1", ("CHAIR", 1)))
    clock.move(60)

    (shared,) = await bus.run_shared([Request(command, CAUSE)])
    assert shared.deferred == "CHAIR"
    assert await held_lines(engine) == 1

    assert labels(await play(bus, command)) == ["ok"]
    assert await held_lines(engine) == 0
