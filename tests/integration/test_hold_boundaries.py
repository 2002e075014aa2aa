"""The moment at which a hold ends: a hold is good while the time is before its end."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.calendar import Calendar
from app.adapters.postgresql.unit_of_work import SqlUnitOfWork
from app.domain.commands import Allocate, CancelAllocation, Command, CreateBatch, ShipLine
from app.read_model.availability import Question
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import TemporarilyUnavailableError
from app.service_layer.requests import RetryPolicy
from tests.support.cells import queries_over
from tests.support.database import bus_over, labels, play, results
from tests.support.holds import MICROSECOND, NOON, MovableClock, bus_with_clock, events_of, held_lines, hold, order
from tests.support.messages import Pauses

END = NOON + timedelta(seconds=60)
AROUND_THE_END = pytest.mark.parametrize(
    ("now", "is_over"),
    [
        pytest.param(END - MICROSECOND, False, id="a-microsecond-before"),
        pytest.param(END, True, id="at-the-end"),
        pytest.param(END + MICROSECOND, True, id="a-microsecond-after"),
    ],
)
CONFIRM = Allocate(order_id="order-1", sku="CHAIR", qty=5)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def bus(engine: AsyncEngine, clock: MovableClock) -> MessageBus:
    """A batch that order-1 holds whole until END."""
    bus = bus_with_clock(engine, clock)
    await results(bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=5))
    await results(bus, Allocate(order_id="order-1", sku="CHAIR", qty=5, hold_for=60))
    return bus


async def story(engine: AsyncEngine, sku: str = "CHAIR") -> list[str]:
    """The events after the batch and the hold: type and order."""
    return [f"{each.type} {_data(each).get('order_id', '')}".strip() for each in (await events_of(engine, sku))[2:]]


def _data(event: Any) -> dict[str, Any]:  # noqa: ANN401 - a row
    data: dict[str, Any] = json.loads(event.data)
    return data


async def line(engine: AsyncEngine, order_id: str, sku: str = "CHAIR") -> tuple[str, datetime | None]:
    lines = {each.sku: each for each in await queries_over(engine).allocations(order_id)}
    return lines[sku].status, lines[sku].held_until


@AROUND_THE_END
async def test_a_confirmation(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine, now: datetime, is_over: bool
) -> None:
    await results(bus, Allocate(order_id="waiting", sku="CHAIR", qty=1))
    clock.now = now

    outcomes = await play(bus, Allocate(order_id="order-1", sku="CHAIR", qty=5, if_unavailable="reject"))

    assert labels(outcomes) == ["out-of-stock" if is_over else "ok"]
    assert (await line(engine, "waiting"))[0] == ("allocated" if is_over else "backordered")
    if not is_over:
        assert await line(engine, "order-1") == ("allocated", None)


@AROUND_THE_END
async def test_an_extension(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine, now: datetime, is_over: bool
) -> None:
    clock.now = now
    outcomes = await play(bus, hold("order-1", 30))
    assert labels(outcomes) == ["order-not-found" if is_over else "ok"]
    if not is_over:
        assert await line(engine, "order-1") == ("held", now + timedelta(seconds=30))


@AROUND_THE_END
@pytest.mark.parametrize(
    ("command", "before", "events"),
    [
        (ShipLine(order_id="order-1", sku="CHAIR"), "not-confirmed", []),
        (CancelAllocation(order_id="order-1", sku="CHAIR"), "ok", ["hold_released.v1 order-1", "back_in_stock.v1"]),
    ],
    ids=["ship", "cancel"],
)
async def test_a_shipment_or_cancellation(
    bus: MessageBus,
    clock: MovableClock,
    engine: AsyncEngine,
    now: datetime,
    is_over: bool,
    command: Command,
    before: str,
    events: list[str],
) -> None:
    clock.now = now
    assert labels(await play(bus, command)) == ["allocation-not-found" if is_over else before]
    # Stock that expiry has released is not released again.
    assert await story(engine) == (["hold_released.v1 order-1", "back_in_stock.v1"] if is_over else events)


@AROUND_THE_END
async def test_the_placement_of_another_order(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine, now: datetime, is_over: bool
) -> None:
    clock.now = now
    outcomes = await play(bus, Allocate(order_id="order-2", sku="CHAIR", qty=5, if_unavailable="reject"))
    assert labels(outcomes) == ["ok" if is_over else "out-of-stock"]
    assert await held_lines(engine) == (0 if is_over else 1)


async def test_a_waiting_order_comes_before_a_newcomer(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine
) -> None:
    await results(bus, Allocate(order_id="waiting", sku="CHAIR", qty=5))
    clock.now = END

    outcomes = await play(bus, Allocate(order_id="newcomer", sku="CHAIR", qty=1, if_unavailable="reject"))

    assert labels(outcomes) == ["out-of-stock"]
    assert (await story(engine))[2:4] == ["hold_released.v1 order-1", "line_allocated.v1 waiting"]


async def test_a_retry_does_not_extend(bus: MessageBus, clock: MovableClock, engine: AsyncEngine) -> None:
    clock.move(30)
    await results(bus, Allocate(order_id="order-1", sku="CHAIR", qty=5, hold_for=60))
    assert await line(engine, "order-1") == ("held", END)
    assert await story(engine) == []


async def test_a_clock_that_is_set_back_revives_nothing_and_shortens_nothing(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine
) -> None:
    clock.now = END + timedelta(seconds=5)
    await results(bus, Allocate(order_id="order-2", sku="CHAIR", qty=4, hold_for=60))
    clock.now = NOON

    assert labels(await play(bus, hold("order-1", 30))) == ["order-not-found"]
    await results(bus, Allocate(order_id="order-3", sku="CHAIR", qty=1, hold_for=60))

    assert await line(engine, "order-2") == ("held", END + timedelta(seconds=65))
    assert await line(engine, "order-3") == ("held", END + timedelta(seconds=65))


async def test_a_hold_that_a_slow_clock_has_seen_end_is_over_for_good(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine
) -> None:
    """Without a stored time, a second hold that ends as late as the first would be good again."""
    await results(bus, CreateBatch(ref="batch-2", sku="CHAIR", qty=5))
    await results(bus, Allocate(order_id="order-2", sku="CHAIR", qty=5, hold_for=61))
    clock.now = END
    await play(bus, CancelAllocation(order_id="nothing", sku="CHAIR"))
    clock.now = NOON
    await results(bus, hold("order-2", 1))

    assert await line(engine, "order-2") == ("held", END + timedelta(seconds=1))


async def test_the_lines_of_an_order_share_one_end_where_the_clocks_of_products_differ(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine
) -> None:
    await results(bus, CreateBatch(ref="tables", sku="TABLE", qty=5))
    clock.now = END
    # The clock of chairs is at END now, that of tables has not been used.
    await play(bus, CancelAllocation(order_id="order-1", sku="CHAIR"))
    clock.now = NOON

    await results(bus, order("order-2", ("CHAIR", 1), ("TABLE", 1), hold_for=60))
    ends = {sku: (await line(engine, "order-2", sku))[1] for sku in ("CHAIR", "TABLE")}
    assert ends == {"CHAIR": END + timedelta(seconds=60), "TABLE": END + timedelta(seconds=60)}

    clock.now = END + timedelta(seconds=59)
    await results(bus, hold("order-2", 60, ("CHAIR", 2), ("TABLE", 1)))
    ends = {sku: (await line(engine, "order-2", sku))[1] for sku in ("CHAIR", "TABLE")}
    assert set(ends.values()) == {END + timedelta(seconds=119)}


async def test_a_group_that_fails_ends_its_holds_once_when_it_runs_again(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine
) -> None:
    failures = [TemporarilyUnavailableError("the commit failed"), None]

    class FailingOnce(SqlUnitOfWork):
        async def commit(self) -> None:
            failure = failures.pop(0)
            if failure is not None:
                raise failure
            await super().commit()

    again = bus_over(engine, RetryPolicy(sleep=Pauses()), kind=FailingOnce, calendar=Calendar(clock=clock))
    clock.now = END
    outcomes = await play(again, CONFIRM, CancelAllocation(order_id="nothing", sku="CHAIR"))

    assert labels(outcomes) == ["ok", "allocation-not-found"]
    assert await story(engine) == ["hold_released.v1 order-1", "back_in_stock.v1", "line_allocated.v1 order-1"]


async def test_a_refused_command_of_the_group_keeps_the_end_of_the_hold(
    bus: MessageBus, clock: MovableClock, engine: AsyncEngine
) -> None:
    clock.now = END
    refused = Allocate(order_id="order-2", sku="CHAIR", qty=6, if_unavailable="reject")
    outcomes = await play(bus, refused, ShipLine(order_id="order-1", sku="CHAIR"))
    assert labels(outcomes) == ["out-of-stock", "allocation-not-found"]
    assert await held_lines(engine) == 0


async def test_reads_of_a_snapshot_end_no_hold(bus: MessageBus, clock: MovableClock, engine: AsyncEngine) -> None:
    """Reads may show a hold after its end, and never write."""
    clock.now = datetime(2020, 1, 1, tzinfo=UTC)
    await results(bus, CreateBatch(ref="tables", sku="TABLE", qty=5))
    await results(bus, Allocate(order_id="order-2", sku="TABLE", qty=5, hold_for=60))
    queries, newcomer = queries_over(engine), Allocate(order_id="order-3", sku="TABLE", qty=5)
    before = await events_of(engine, "TABLE")

    preview = await queries.dry_runs.allocate(newcomer)
    availability = await queries.availability(Question("TABLE", 5))
    own = await queries.dry_runs.place_order(order("order-2", ("TABLE", 5)))

    assert (preview.status, availability.available) == ("backordered", False)
    assert own.lines[0].status == "allocated"
    assert await held_lines(engine) == 2
    assert await events_of(engine, "TABLE") == before
    async with engine.connect() as connection:
        clocks = await connection.execute(text("SELECT hold_clock FROM products WHERE sku = 'TABLE'"))
        assert clocks.scalar_one() == clock.now
