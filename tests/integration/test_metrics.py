"""The metrics of waiting work. Each test checks how a value changes, or uses a series of its own."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from types import SimpleNamespace

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from app.adapters.postgresql.connections import DriverConnections, create_engine
from app.bootstrap import Service, bootstrap
from app.domain.commands import Allocate, CreateBatch
from app.embedded.process import free_port
from app.entrypoints import components
from app.entrypoints.kafka import publisher, subscription
from app.observability import metrics, vitals
from app.service_layer.requests import Request
from app.settings import Settings
from tests.support.database import CAUSE, play, raw_connection, waiting_for_a_lock
from tests.support.errands import Desk, Errand
from tests.support.waiting import eventually
from tests.support.wire import Wire


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    return 0.0 if found is None else found


async def test_commands_are_counted_by_outcome() -> None:
    def count(outcome: str) -> float:
        return value("allocation_commands_total", command="Errand", outcome=outcome)

    before = {outcome: count(outcome) for outcome in ("ok", "refused", "error")}
    await Desk().bus.handle_group(
        [
            Request(Errand(name="one"), CAUSE),
            Request(Errand(name="two", refused=True), CAUSE),
            Request(Errand(name="three", goes_wrong=True), CAUSE),
        ]
    )
    assert {outcome: count(outcome) - before[outcome] for outcome in before} == {"ok": 1, "refused": 1, "error": 1}


async def test_commands_without_a_database_count_as_unavailable(settings: Settings) -> None:
    nowhere = settings.model_copy(
        update={"database_url": SecretStr("postgresql+asyncpg://allocation@127.0.0.1:1/nothing")}
    )
    labels = {"command": "Allocate", "outcome": "unavailable"}
    before = value("allocation_commands_total", **labels)
    async with bootstrap(nowhere) as service:
        request = Request(Allocate(order_id="order-1", sku="CHAIR", qty=1), CAUSE)
        (outcome,) = await service.bus.handle_group([request])
    assert outcome.error is not None
    assert value("allocation_commands_total", **labels) == before + 1


async def test_the_time_that_a_group_waits_for_locks_is_measured(service: Service, settings: Settings) -> None:
    await play(service.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=1))
    count, total = (value(f"allocation_lock_wait_seconds_{part}") for part in ("count", "sum"))
    async with raw_connection(settings.database_url.get_secret_value(), cell_of="CHAIR") as other:
        await other.execute("BEGIN; SELECT FROM products FOR NO KEY UPDATE")
        waiting = asyncio.create_task(play(service.bus, Allocate(order_id="order-1", sku="CHAIR", qty=1)))
        await waiting_for_a_lock(settings.database_url.get_secret_value())
        held_for = 0.2
        await asyncio.sleep(held_for)  # the time that is measured
    await waiting
    # Once without a wait, together with others, and once apart.
    assert value("allocation_lock_wait_seconds_count") == count + 2
    assert value("allocation_lock_wait_seconds_sum") > total + held_for


async def test_dead_letters_and_backorders_are_counted_by_the_housekeeping(service: Service) -> None:
    await play(service.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=1))
    for number in range(3):
        await play(service.bus, Allocate(order_id=f"order-{number}", sku="CHAIR", qty=5))
    async with service.engine.begin() as connection:
        await connection.exec_driver_sql(
            """INSERT INTO dead_letters (consumer, topic, partition, "offset", "timestamp", headers, reason)
               VALUES ('test', 'topic', 0, 0, 0, '[]', 'a reason')"""
        )
    await play(service.bus, CreateBatch(ref="batch-2", sku="VASE", qty=9))
    for number in range(2):
        await play(service.bus, Allocate(order_id=f"order-{number}", sku="VASE", qty=1, hold_for=600))
    metrics.backordered_lines.set(metrics.UNKNOWN)

    async def counted() -> bool:
        return not math.isnan(value("allocation_backordered_lines"))

    async with components.running([components.housekeeping(service)]):
        await eventually(counted)
    assert value("allocation_backordered_lines") == 3
    assert value("allocation_dead_letters_kept_messages") == 1
    assert (value("allocation_held_lines"), value("allocation_overdue_holds_oldest_age_seconds")) == (2, 0)


async def test_the_age_of_the_oldest_overdue_hold_is_measured_and_unknown_without_a_database(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components, "COUNT_INTERVAL", 0.05)
    for sku, seconds in (("CHAIR", 90), ("VASE", 30), ("LAMP", -600)):
        await play(service.bus, CreateBatch(ref=f"batch-{sku}", sku=sku, qty=9))
        await play(service.bus, Allocate(order_id="order-1", sku=sku, qty=1, hold_for=600))
        async with service.engine.begin() as connection:
            ended = f"statement_timestamp() - interval '{seconds} s'"
            await connection.exec_driver_sql(f"UPDATE products SET earliest_hold_end = {ended} WHERE sku = '{sku}'")
    metrics.overdue_hold_age.set(metrics.UNKNOWN)

    def age() -> float:
        return value("allocation_overdue_holds_oldest_age_seconds")

    async def measured() -> bool:
        return age() >= 90

    async def unknown() -> bool:
        return math.isnan(age()) and math.isnan(value("allocation_held_lines"))

    async with components.running([components.housekeeping(service)]):
        await eventually(measured)
        assert age() < 90 + 60

        async def fails(_: object) -> None:
            raise OSError

        monkeypatch.setattr(components, "count_backlog", fails)
        await eventually(unknown)


async def test_an_old_snapshot_is_measured_by_its_age_and_the_rows_it_keeps(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components, "COUNT_INTERVAL", 0.05)
    await play(service.bus, *(CreateBatch(ref=f"batch-{number}", sku="CHAIR", qty=1) for number in range(50)))

    def held() -> tuple[float, float]:
        return value("allocation_database_oldest_snapshot_seconds"), value(
            "allocation_database_oldest_snapshot_transactions"
        )

    async with (
        components.running([components.housekeeping(service)]),
        raw_connection(settings.database_url.get_secret_value()) as dump,
        raw_connection(settings.database_url.get_secret_value()) as other,
    ):
        await dump.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox")
        await other.execute("DELETE FROM outbox")
        for _ in range(5):
            await other.execute("SELECT pg_current_xact_id()")
        await eventually(lambda: holds(held()[0] > 1 and held()[1] >= 5))
        await eventually(lambda: holds(value("allocation_outbox_dead_rows") >= 50))
        await dump.execute("COMMIT")
        await eventually(lambda: holds(held()[0] < 1))


async def test_pools_report_the_connections_in_use(settings: Settings) -> None:
    engine = create_engine(settings.database_url.get_secret_value(), pool_size=4)
    connections = DriverConnections(engine, keep=1)
    assert connections.in_use() == 0
    lent = [await connections.lend() for _ in range(3)]
    assert connections.in_use() == 3
    async with vitals.monitored({"test": connections.in_use}):
        await eventually(lambda: holds(value("allocation_database_pool_connections", pool="test") == 3))
    for each in lent:
        await connections.give_back(each)
    assert connections.in_use() == 0, "one that is only kept is not in use"
    await connections.close()
    await engine.dispose()


async def holds(condition: bool) -> bool:
    return condition


async def test_a_blocked_event_loop_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "INTERVAL", 0.01)
    before = value("allocation_event_loop_lag_seconds_sum")
    async with vitals.monitored({}):
        await asyncio.sleep(0)
        # A long computation delays all other tasks of the event loop.
        until = asyncio.get_running_loop().time() + 0.2
        while asyncio.get_running_loop().time() < until:
            pass
        await eventually(lambda: holds(value("allocation_event_loop_lag_seconds_sum") > before + 0.1))


@pytest.fixture
async def published(kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Service, Wire]]:
    """A service with a broker, and its topics."""
    monkeypatch.setattr(subscription, "LAG_INTERVAL", 0.05)
    wire = Wire(
        kafka_settings.kafka_bootstrap_servers,
        kafka_settings.kafka_inbound_topics[0],
        kafka_settings.kafka_events_topic,
    )
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(bootstrap(kafka_settings))
        await stack.enter_async_context(service.bus)
        yield service, wire
    wire.close()


@pytest.mark.kafka
async def test_the_relay_reports_the_age_of_the_oldest_event_and_its_delay(
    published: tuple[Service, Wire],
) -> None:
    service, wire = published
    await play(service.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=1))
    late = value("allocation_relay_lag_seconds_sum")
    ages: list[float] = []
    gauge = metrics.outbox_oldest_age
    set_gauge = gauge.set

    def note(age: float) -> None:
        ages.append(age)
        set_gauge(age)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gauge, "set", note)
        later = SimpleNamespace(time=lambda: time.time() + 90)
        patch.setattr(publisher, "time", later)
        async with components.running([components.relay(service)]):
            await wire.events("CHAIR", 1)
            await eventually(lambda: holds(bool(ages) and ages[-1] == 0))
    assert max(ages) == pytest.approx(90, abs=30)
    assert value("allocation_relay_lag_seconds_sum") - late == pytest.approx(90, abs=30)


@pytest.mark.kafka
async def test_a_consumer_reports_its_lag_while_it_is_blocked(published: tuple[Service, Wire]) -> None:
    service, wire = published

    def lag() -> float:
        return value("allocation_consumer_lag_messages", subscription="consumer")

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(components.running([components.consumer(service)]))
        await eventually(lambda: holds(lag() == 0))
        other = await stack.enter_async_context(service.cells.engine_of("CHAIR").begin())
        await play(service.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=100))
        await other.exec_driver_sql("SELECT FROM products FOR NO KEY UPDATE")
        for number in range(5):
            wire.send("allocation_required.v1", {"order_id": f"order-{number}", "sku": "CHAIR", "qty": 1})
        await eventually(lambda: holds(lag() == 5))
        await other.rollback()
        await eventually(lambda: holds(lag() == 0))
    assert math.isnan(lag()), "a stopped consumer reports no lag"


async def test_a_worker_with_a_blocked_event_loop_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "STUCK_AFTER", 1.0)
    # A heartbeat of its own: other tests have event loops in other threads of this process.
    port, heartbeat = free_port(), vitals.EventLoopHeartbeat()
    metrics.serve(port, heartbeat.is_alive)
    url = f"http://127.0.0.1:{port}"

    def becomes(status: int) -> None:
        deadline = time.monotonic() + 30
        while httpx.get(f"{url}/livez").status_code != status:
            assert time.monotonic() < deadline

    with ThreadPoolExecutor(1) as thread:
        becomes(503)
        async with vitals.monitored({}, heartbeat):
            await asyncio.wrap_future(thread.submit(becomes, 200))
            scraped = await asyncio.wrap_future(thread.submit(httpx.get, f"{url}/metrics"))
            assert "allocation_event_loop_lag_seconds_count" in scraped.text
            # This blocks the event loop.
            thread.submit(becomes, 503).result()
            await asyncio.wrap_future(thread.submit(becomes, 200))
