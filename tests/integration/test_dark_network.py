"""Existing connections lose all packets without an error; new connections work."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql import connections, outbox_signal
from app.adapters.postgresql.connections import DriverConnections, create_engine
from app.adapters.postgresql.outbox_signal import CHANNEL, OutboxListener
from app.adapters.postgresql.unavailable import DatabaseUnavailableError
from app.adapters.postgresql.unit_of_work import SqlUnitOfWork
from app.domain.commands import Allocate, CreateBatch
from app.embedded.process import free_port
from app.service_layer.messagebus import MessageBus
from app.service_layer.requests import Outcome, RetryPolicy
from faults.proxy import Proxy
from tests.support.cells import queries_over
from tests.support.database import bus_over, play, raw_connection
from tests.support.messages import Pauses

LINE = Allocate(order_id="order-1", sku="CHAIR", qty=1)
HTTP_DEADLINE = 8.0


@pytest.fixture(autouse=True)
async def stock(bus: MessageBus) -> None:
    await play(bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=10))


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    """A proxy in front of the database."""
    port = make_url(database_url).port
    assert port is not None
    with Proxy(free_port(), port) as proxy:
        yield proxy


@pytest.fixture
def proxied_url(database_url: str, proxy: Proxy) -> str:
    """The URL of the database through the proxy."""
    return make_url(database_url).set(port=proxy.port).render_as_string(hide_password=False)


@pytest.fixture
async def far(proxied_url: str) -> AsyncIterator[AsyncEngine]:
    """A pool of five open connections through the proxy."""
    engine = create_engine(proxied_url, pool_size=5)
    connections = [await engine.connect() for _ in range(5)]
    for connection in connections:
        await connection.close()
    yield engine
    await engine.dispose()


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def forget(proxy: Proxy) -> None:
    proxy.set_mode("hole")
    proxy.set_mode("forget")


def assert_done_once(outcomes: list[Outcome]) -> None:
    assert [outcome.unwrap().changed for outcome in outcomes] == [True]


async def test_a_command_is_done_in_time_although_all_connections_are_dead(far: AsyncEngine, proxy: Proxy) -> None:
    connections = DriverConnections(far)
    bus = bus_over(connections, RetryPolicy(sleep=Pauses()))
    forget(proxy)

    with at_most(HTTP_DEADLINE):
        assert_done_once(await play(bus, LINE))


async def test_the_outcome_of_a_commit_is_checked_on_a_working_connection(far: AsyncEngine, proxy: Proxy) -> None:
    attempts = 0

    class LosesACommitAnswer(SqlUnitOfWork):
        async def _commit(self) -> None:
            nonlocal attempts
            attempts += 1
            await super()._commit()
            forget(proxy)
            self._is_open = True  # Its state before the lost acknowledgement.
            raise TimeoutError

    connections = DriverConnections(far)
    bus = bus_over(connections, RetryPolicy(sleep=Pauses()), kind=LosesACommitAnswer)
    with at_most(HTTP_DEADLINE):
        assert_done_once(await play(bus, LINE))

    assert attempts == 1


async def test_after_one_timeout_other_readers_get_new_connections(
    proxied_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "COMMAND_TIMEOUT", 2)
    engine = create_engine(proxied_url, pool_size=5)
    queries = queries_over(engine)
    await asyncio.gather(*(queries.product("CHAIR") for _ in range(5)))
    forget(proxy)
    with pytest.raises(DatabaseUnavailableError):
        await queries.product("CHAIR")

    with at_most(1.5):
        assert (await queries.product("CHAIR")).available_qty == 10
    await engine.dispose()


async def test_a_reader_that_timed_out_does_not_wait_for_the_connection_to_close(
    far: AsyncEngine, proxy: Proxy
) -> None:
    queries = queries_over(far)
    await queries.product("CHAIR")
    forget(proxy)

    with at_most(0.2 + 1.3), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await queries.product("CHAIR")


async def test_a_listener_replaces_a_dead_connection(
    database_url: str, proxied_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_signal, "LISTENER_TIMEOUT", 0.5, raising=False)
    heard = asyncio.Event()
    async with OutboxListener(proxied_url, heard.set) as listener:
        await listener.ensure()
        forget(proxy)
        await listener.ensure()
        async with raw_connection(database_url) as other, asyncio.timeout(60):
            await other.execute(f"NOTIFY {CHANNEL}")
            await heard.wait()
