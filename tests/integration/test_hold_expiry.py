"""Many holds that end at once: nothing runs on their product before, and no transaction is too large."""

import json
from collections import Counter

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.commands import (
    Allocate,
    AllocateMany,
    CancelAllocation,
    CancelOrder,
    ChangeBatchQuantity,
    Command,
    CreateBatch,
    ExpireHolds,
    SetReorderPoint,
    ShipLine,
)
from app.service_layer.messagebus import MessageBus
from app.service_layer.requests import Request
from tests.support.cells import in_one_cell, queries_over
from tests.support.database import CAUSE, labels, play, results
from tests.support.holds import MovableClock, bus_with_clock, events_of, held_lines, order
from tests.support.messages import received

(TABLE,) = in_one_cell("TABLE", 1, cell_of="CHAIR")
"""A product that a group may have together with chairs."""


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
    await hold_many(bus, "CHAIR", 150)
    await hold_many(bus, TABLE, 300)
    clock.move(60)
    commands = [Allocate(order_id="new", sku="CHAIR", qty=1), SetReorderPoint(sku=TABLE, qty=1)]

    outcomes = await bus.run_shared([Request(command, CAUSE) for command in commands])

    assert [outcome.deferred for outcome in outcomes] == ["", TABLE]
    assert await held_lines(engine) == 250
    for sku in ("CHAIR", TABLE):
        events = await events_of(engine, sku)
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert Counter(event.type for event in await events_of(engine, TABLE))["hold_released.v1"] == 50


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


async def test_a_command_on_the_whole_product_runs_after_all_holds_have_ended(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine
) -> None:
    await hold_many(bus, "CHAIR", 1200)
    clock.move(60)

    assert labels(await play(bus, ChangeBatchQuantity(ref="batch-CHAIR", qty=1300))) == ["ok"]

    events = (await events_of(engine, "CHAIR"))[1201:]
    assert [event.type for event in events if event.type != "back_in_stock.v1"] == [
        *["hold_released.v1"] * 1200,
        "batch_quantity_changed.v1",
    ]
    transactions = Counter(event.xmin for event in events if event.type == "hold_released.v1")
    assert list(transactions.values()) == [200, 500, 500]
    assert events[-1].xmin == events[-2].xmin


async def test_other_products_of_a_shared_group_go_on(bus: MessageBus, clock: MovableClock) -> None:
    await hold_many(bus, "CHAIR", 501)
    await results(bus, CreateBatch(ref="tables", sku="TABLE", qty=5))
    clock.move(60)
    commands = [
        SetReorderPoint(sku="CHAIR", qty=1),
        Allocate(order_id="order-1", sku="TABLE", qty=1),
        Allocate(order_id="order-1", sku="CHAIR", qty=1),
    ]

    outcomes = await bus.run_shared([Request(command, CAUSE) for command in commands])

    # The last one stays behind the first one, on the same product.
    assert [outcome.deferred for outcome in outcomes] == ["CHAIR", "", "CHAIR"]


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "apart"])
async def test_a_line_that_needs_the_stock_of_holds_that_are_left_gets_it(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine, shared: bool
) -> None:
    await hold_many(bus, "CHAIR", 1100)
    clock.move(60)
    requests = [
        Request(Allocate(order_id="small", sku="CHAIR", qty=1), CAUSE),
        Request(Allocate(order_id="large", sku="CHAIR", qty=1099, if_unavailable="reject"), CAUSE),
    ]

    outcomes = await (bus.handle_group(requests) if shared else bus.run_apart(requests))

    assert labels(outcomes) == ["ok", "ok"]
    assert [event.sequence for event in await events_of(engine, "CHAIR")] == list(range(1, 2205))


async def test_lines_of_holds_that_are_left_are_over_as_well(bus: MessageBus, clock: MovableClock) -> None:
    """The holds of the last lines are not among the first 500 that end."""
    await hold_many(bus, "CHAIR", 1100)
    clock.move(60)
    outcomes = await play(
        bus,
        CancelAllocation(order_id="CHAIR-1099", sku="CHAIR"),
        ShipLine(order_id="CHAIR-1098", sku="CHAIR"),
        Allocate(order_id="CHAIR-1097", sku="CHAIR", qty=2, if_unavailable="reject"),
    )
    assert labels(outcomes) == ["allocation-not-found", "allocation-not-found", "ok"]


async def test_a_message_that_waits_for_holds_takes_effect_once(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine
) -> None:
    await hold_many(bus, "CHAIR", 1100)
    clock.move(60)
    requests = [
        Request(Allocate(order_id="new", sku="CHAIR", qty=1100), CAUSE, received("message-1")),
        Request(ChangeBatchQuantity(ref="batch-CHAIR", qty=1101), CAUSE, received("message-2")),
        Request(Allocate(order_id="other", sku="CHAIR", qty=1), CAUSE, received("message-3")),
    ]

    assert labels(await bus.handle_group(requests)) == ["ok", "ok", "ok"]
    assert labels(await bus.handle_group(requests)) == ["duplicate", "duplicate", "duplicate"]

    product = await queries_over(engine).product("CHAIR")
    assert (product.allocated_qty, product.available_qty, product.held_qty) == (1101, 0, 0)


async def test_holds_whose_stock_serves_a_long_queue_serve_it_whole_and_first(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine
) -> None:
    await hold_many(bus, "CHAIR", 600)
    await results(bus, CreateBatch(ref="large", sku="CHAIR", qty=2000))
    await results(bus, Allocate(order_id="whole", sku="CHAIR", qty=2000, hold_for=60))
    orders = await queue_many(bus, "CHAIR", 2600)
    clock.move(60)

    outcomes = await play(bus, Allocate(order_id="newcomer", sku="CHAIR", qty=1, if_unavailable="reject"))

    assert labels(outcomes) == ["out-of-stock"]
    served = [json.loads(event.data)["order_id"] for event in (await events_of(engine, "CHAIR"))[-2602:-2]]
    assert served == orders
    assert (await queries_over(engine).product("CHAIR")).backordered_qty == 0


async def test_ten_thousand_holds_that_end_at_once(bus: MessageBus, clock: MovableClock, engine: AsyncEngine) -> None:
    await hold_many(bus, "CHAIR", 10_000)
    clock.move(60)

    while (await results(bus, ExpireHolds(sku="CHAIR")))[0]:
        pass

    events = [event for event in await events_of(engine, "CHAIR") if event.type == "hold_released.v1"]
    assert len(events) == 10_000
    assert set(Counter(event.xmin for event in events).values()) == {500}
    ended = [json.loads(event.data)["order_id"] for event in events]
    assert ended == [f"CHAIR-{number}" for number in range(10_000)]
