"""PostgreSQL refuses, disconnects or does not respond: transient faults are retried, others reported in time."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql import schema, statements
from app.adapters.postgresql.connections import DriverConnections, create_engine
from app.adapters.postgresql.unit_of_work import SqlUnitOfWork
from app.domain.commands import Allocate, CreateBatch
from app.embedded.postgresql import EmbeddedPostgresql
from app.embedded.process import free_port, poll_until
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import TemporarilyUnavailableError
from app.service_layer.requests import Outcome, Request, RetryPolicy
from tests.support.cells import CELLS, in_one_cell, queries_over
from tests.support.database import CAUSE, bus_over, labels, play, raw_connection, waiting_for_a_lock
from tests.support.messages import Pauses
from tests.support.waiting import eventually

LINE = Allocate(order_id="order-1", sku="CHAIR", qty=1)
(TABLE,) = in_one_cell("TABLE", 1, cell_of="CHAIR")
LOCK = "SELECT FROM products WHERE sku = $1 FOR UPDATE"


@pytest.fixture(autouse=True)
async def stock(bus: MessageBus) -> None:
    await play(bus, *(CreateBatch(ref=f"batch-{sku}", sku=sku, qty=10) for sku in ("CHAIR", TABLE)))


async def chairs_allocated(engine: AsyncEngine) -> int:
    """How many chairs are allocated."""
    return (await queries_over(engine).product("CHAIR")).allocated_qty


def assert_done_once(outcomes: list[Outcome]) -> None:
    assert [outcome.unwrap().changed for outcome in outcomes] == [True]


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_after_a_deadlock_each_request_takes_its_effect(
    engine: AsyncEngine, database_url: str, postgresql: EmbeddedPostgresql
) -> None:
    bus = bus_over(engine, RetryPolicy(sleep=Pauses()))
    splits = value("allocation_group_splits_total", reason="rows")
    admin_url = make_url(postgresql.admin_url).set(database=make_url(database_url).database)
    async with raw_connection(admin_url.render_as_string(hide_password=False), cell_of="CHAIR") as other:
        async with other.transaction():
            await other.execute("SET LOCAL deadlock_timeout = '20s'")  # So that it is the bus that finds out first.
            await other.execute(LOCK, TABLE)
            commands = [LINE, Allocate(order_id="order-1", sku=TABLE, qty=1)]
            both = asyncio.create_task(bus.run_apart([Request(command, CAUSE) for command in commands]))
            await waiting_for_a_lock(database_url)
            await other.execute(LOCK, "CHAIR")
        outcomes = await both

    assert labels(outcomes) == ["ok", "ok"]
    assert value("allocation_group_splits_total", reason="rows") == splits + 1
    assert await chairs_allocated(engine) == 1


async def test_a_serialization_failure_is_retried(database_url: str) -> None:
    async with raw_connection(database_url, cell_of="CHAIR") as other:
        name = make_url(database_url).database
        await other.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
        strict = create_engine(database_url, pool_size=2)
        async with other.transaction():
            await other.execute("UPDATE products SET backordered_qty = 0 WHERE sku = 'CHAIR'")
            waiting = asyncio.create_task(play(bus_over(strict, RetryPolicy(sleep=(pauses := Pauses()))), LINE))
            await waiting_for_a_lock(database_url)
        assert_done_once(await waiting)

    assert len(pauses.seconds) == 1
    await strict.dispose()


@pytest.fixture
async def impatient(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncEngine]:
    """A pool whose sessions wait 50 ms for a lock."""
    monkeypatch.setattr("app.adapters.postgresql.connections.LOCK_TIMEOUT", 0.05)
    engine = create_engine(database_url, pool_size=2)
    yield engine
    await engine.dispose()


async def test_a_lock_that_is_held_too_long_is_retried(impatient: AsyncEngine, database_url: str) -> None:
    async with raw_connection(database_url, cell_of="CHAIR") as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(LOCK, "CHAIR")

        async def let_go(seconds: float) -> None:
            await transaction.rollback()

        assert_done_once(await play(bus_over(impatient, RetryPolicy(sleep=let_go)), LINE))


async def test_a_lock_that_is_never_released_is_reported_in_time(impatient: AsyncEngine, database_url: str) -> None:
    bus = bus_over(impatient, RetryPolicy(attempts=3, sleep=(pauses := Pauses())))
    async with raw_connection(database_url, cell_of="CHAIR") as other, other.transaction():
        await other.execute(LOCK, "CHAIR")
        (outcome,) = await play(bus, LINE)

    assert isinstance(outcome.error, TemporarilyUnavailableError)
    assert len(pauses.seconds) == 2
    assert await chairs_allocated(impatient) == 0


async def test_work_on_a_session_that_is_killed_is_retried(engine: AsyncEngine, database_url: str) -> None:
    bus = bus_over(engine, RetryPolicy(sleep=(pauses := Pauses())))
    async with raw_connection(database_url, cell_of="CHAIR") as other:
        async with other.transaction():
            await other.execute(LOCK, "CHAIR")
            waiting = asyncio.create_task(play(bus, LINE))
            await waiting_for_a_lock(database_url)
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event_type = 'Lock'"
            )
        assert_done_once(await waiting)

    assert len(pauses.seconds) >= 1
    assert await chairs_allocated(engine) == 1


async def test_the_locks_of_a_process_that_hangs_are_released(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two halves of asyncpg's prepare a session is not idle, and runs no statement either."""
    monkeypatch.setattr("app.adapters.postgresql.connections.TRANSACTION_TIMEOUT", 1)
    hanging = create_engine(database_url, pool_size=1)
    connections = DriverConnections(hanging, keep=1)
    lent = await connections.lend()
    await lent.driver.execute("BEGIN")
    await lent.driver.fetch(LOCK, "CHAIR")
    await lent.driver.prepare("SELECT 1")
    async with raw_connection(database_url, cell_of="CHAIR") as other, asyncio.timeout(60):
        await other.fetch(LOCK, "CHAIR")
    await connections.throw_away(lent)
    await hanging.dispose()


async def test_sessions_that_were_killed_while_idle_are_replaced(engine: AsyncEngine, database_url: str) -> None:
    bus = bus_over(engine, RetryPolicy(sleep=Pauses()))
    await asyncio.gather(*(chairs_allocated(engine) for _ in range(4)))  # Several connections lie in the pool.
    async with raw_connection(database_url, cell_of="CHAIR") as other:
        killed = await other.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    assert len(killed) >= 2
    assert_done_once(await play(bus, LINE))


@pytest.mark.parametrize("fate", ["COMMIT", "ROLLBACK"])
async def test_a_commit_whose_acknowledgement_is_lost_gets_its_true_outcome(engine: AsyncEngine, fate: str) -> None:
    lost: list[str] = []

    class LosesAnAnswer(SqlUnitOfWork):
        async def _commit(self) -> None:
            if lost:
                return await super()._commit()
            lost.append(fate)
            await self._connection.execute(fate)
            raise ConnectionResetError("the answer to the commit is lost")

    bus = bus_over(engine, RetryPolicy(sleep=Pauses()), kind=LosesAnAnswer)
    assert_done_once(await play(bus, LINE))

    assert lost == [fate]
    assert await chairs_allocated(engine) == 1
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT type FROM events WHERE subject = 'CHAIR' ORDER BY sequence"))
        assert list(found.scalars()) == ["batch_created.v1", "line_allocated.v1"]


@pytest.mark.parametrize("id_is_reassigned", [True, False])
async def test_a_commit_lost_in_a_crash_is_not_confused_with_another(tmp_path: Path, id_is_reassigned: bool) -> None:
    """A crash loses transactions that were not on disk yet, and their ids are reassigned."""
    with EmbeddedPostgresql(tmp_path / "postgresql", durable=False) as server:
        await asyncio.to_thread(schema.migrate, server.database_url, cells=CELLS.number)
        async with raw_connection(server.admin_url) as admin:
            # So that nothing of the transaction reaches the disk before the crash.
            await admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
            await admin.execute("SELECT pg_reload_conf()")
        engine = create_engine(server.database_url, pool_size=2)
        numbers: list[int] = []

        class CrashesAtCommit(SqlUnitOfWork):
            async def _commit(self) -> None:
                if numbers:
                    return await super()._commit()
                numbers.append(int(await self._connection.fetchval("SELECT pg_current_xact_id()::text")))
                assert server.pid is not None
                os.kill(server.pid, signal.SIGQUIT)
                await asyncio.to_thread(poll_until, lambda: server.pid is None, seconds=60)
                server.start()
                while id_is_reassigned and numbers[0] not in numbers[1:]:
                    async with raw_connection(server.database_url) as other:
                        numbers.append(int(await other.fetchval("SELECT pg_current_xact_id()::text")))
                    assert numbers[-1] <= numbers[0], "the crash did not lose the transaction"
                raise ConnectionResetError("the answer to the commit is lost")

        await play(bus_over(engine), CreateBatch(ref="batch-1", sku="CHAIR", qty=10))
        bus = bus_over(engine, RetryPolicy(sleep=Pauses()), kind=CrashesAtCommit)
        assert_done_once(await play(bus, LINE))
        assert await chairs_allocated(engine) == 1
        await engine.dispose()


async def test_an_unreachable_database_is_reported_after_some_attempts() -> None:
    engine = create_engine(f"postgresql+asyncpg://allocation@127.0.0.1:{free_port()}/nothing", pool_size=1)

    (outcome,) = await play(bus_over(engine, RetryPolicy(attempts=3, sleep=(pauses := Pauses()))), LINE)

    assert isinstance(outcome.error, TemporarilyUnavailableError)
    assert len(pauses.seconds) == 2
    await engine.dispose()


async def test_an_exhausted_pool_is_reported_in_time(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.pool, "_timeout", 0.05)
    held = [await engine.connect() for _ in range(5)]

    (outcome,) = await play(bus_over(engine, RetryPolicy(attempts=2, sleep=Pauses())), LINE)

    assert isinstance(outcome.error, TemporarilyUnavailableError)
    for connection in held:
        await connection.close()


async def test_other_errors_are_not_retried(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "LOCK_FREE_PRODUCTS", "SELECT 1 / 0 WHERE $1::text[] IS NOT NULL")

    (outcome,) = await play(bus_over(engine, RetryPolicy(sleep=(pauses := Pauses()))), LINE)

    assert outcome.label == "error"
    assert not isinstance(outcome.error, TemporarilyUnavailableError)
    assert pauses.seconds == []


OPEN_TRANSACTIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
)


async def test_a_group_that_is_cancelled_anywhere_leaves_no_connection_and_no_transaction_behind(
    engine: AsyncEngine, database_url: str
) -> None:
    bus = bus_over(engine, RetryPolicy(sleep=Pauses()))
    cancelled = 0
    async with raw_connection(database_url, cell_of="CHAIR") as other:

        async def nothing_is_open() -> bool:
            return bool(await other.fetchval(OPEN_TRANSACTIONS) == 0)

        for step in range(600):
            task = asyncio.create_task(play(bus, Allocate(order_id=f"order-{step}", sku="CHAIR", qty=1)))
            await asyncio.wait([task], timeout=step % 40 * 0.0001)
            task.cancel()
            for _ in range(step % 4):
                await asyncio.sleep(0)  # Until the roll-back is under way, where it is cancelled once more.
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or labels(task.result()) == ["ok"]
            # Less than TRANSACTION_TIMEOUT, after which PostgreSQL ends a transaction that was left behind.
            await eventually(nothing_is_open, seconds=10)
            cancelled += task.cancelled()
            if cancelled == 80:
                break
        held = await other.fetchval("SELECT coalesce(sum(qty), 0) FROM order_lines WHERE batch_number IS NOT NULL")

    assert cancelled == 80
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert held == await chairs_allocated(engine)
    assert labels(await play(bus, LINE)) == ["ok"]
