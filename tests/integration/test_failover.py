"""Failover of PostgreSQL to a standby: the service recovers automatically, and reports the fault until then."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app.adapters.postgresql import connections, schema, unit_of_work
from app.adapters.postgresql.connections import create_engine
from app.adapters.postgresql.dead_letters import DeadLetterStore
from app.adapters.postgresql.outbox_reader import OutboxReader
from app.adapters.postgresql.outbox_signal import OutboxListener
from app.bootstrap import Service, bootstrap
from app.domain.commands import CreateBatch
from app.domain.errors import BatchNotFoundError
from app.embedded.process import free_port
from app.operations import doctor
from app.read_model.reader import Reader
from app.service_layer.ports import TemporarilyUnavailableError
from app.service_layer.requests import RetryPolicy
from faults.pair import Pair
from faults.proxy import Proxy
from tests.support import promtool
from tests.support.api import Api, assert_problem, new
from tests.support.cells import CELLS, cells_of, queries_over
from tests.support.database import bus_over, play, raw_connection
from tests.support.failover import (
    by_name,
    closed_for_writes,
    is_primary,
    is_ready,
    is_refused,
    make_read_only,
    refusals,
    running,
    settings_for,
    standby_stopped,
    writes,
)
from tests.support.waiting import eventually

HEALED_SECONDS = 5.0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("pair"))
    try:
        pair.start()
        schema.migrate(pair.primary.database_url, cells=CELLS.number)
        yield pair
    finally:
        pair.stop()


@pytest.fixture
def pair(servers: Pair) -> Pair:
    """A primary and a standby. Attaches a new standby if the test before has promoted it."""
    if servers.standby is None:
        servers.attach(free_port())
    return servers


@pytest.fixture
def name(pair: Pair) -> Iterator[Proxy]:
    """A proxy in place of a host name that resolves to the primary, until a test redirects it."""
    with Proxy(free_port(), pair.primary.port) as proxy:
        yield proxy


async def assert_heals(service: Service, api: Api) -> None:
    """Assert that all writers work again within the time that docs/reliability.md states."""
    started = time.monotonic()
    await eventually(lambda: writes(api), seconds=HEALED_SECONDS)
    await eventually(lambda: is_ready(api), seconds=HEALED_SECONDS - (time.monotonic() - started))
    outbox = OutboxReader(service.cells.engines[0], lease=1.0)
    assert len(await outbox.claim()) > 0
    await outbox.leave()
    await DeadLetterStore(service.cells.control).discard(1)


async def assert_reports_a_read_only_database(service: Service, api: Api) -> None:
    body = {"ref": new("batch"), "sku": new("sku"), "qty": 1}
    assert_problem(await api.client.post("/v1/batches", json=body), 503, "unavailable")
    assert "takes no writes" in assert_problem(await api.client.get("/readyz"), 503, "unavailable")["detail"]
    (finding,) = await doctor._database(service)
    assert finding.verdict == "fault"
    assert "takes no writes" in finding.text
    assert "host1:5432,host2:5432" in finding.advice


async def test_a_name_that_resolves_to_the_standby_for_a_while_needs_no_restart(pair: Pair, name: Proxy) -> None:
    assert pair.standby is not None
    async with running(by_name(pair, name)) as (service, api):
        before = refusals()
        name.lead_to(pair.standby.port)
        await assert_reports_a_read_only_database(service, api)
        assert refusals() > before
        name.lead_to(pair.primary.port)
        await assert_heals(service, api)


async def test_a_name_that_resolves_to_a_promoted_standby_needs_no_restart(pair: Pair, name: Proxy) -> None:
    assert pair.standby is not None
    async with running(by_name(pair, name)) as (service, api):
        pair.crash()
        name.lead_to(pair.standby.port)
        await assert_reports_a_read_only_database(service, api)
        pair.promote()
        await assert_heals(service, api)


async def test_among_several_servers_the_new_primary_is_found(pair: Pair) -> None:
    async with running(settings_for(pair.url())) as (service, api):
        pair.fail_over()
        await assert_heals(service, api)


async def test_a_standby_that_is_named_first_is_passed_over(pair: Pair) -> None:
    assert pair.standby is not None
    names = f"127.0.0.1:{pair.standby.port},127.0.0.1:{pair.primary.port}"
    url = pair.primary.database_url.replace(f"127.0.0.1:{pair.primary.port}", names)
    assert schema.head() == await asyncio.to_thread(schema.migrate, url, cells=CELLS.number)
    async with running(settings_for(url)) as (service, api):
        await assert_heals(service, api)
        async with OutboxListener(url, lambda: None) as listener:
            await listener.ensure()
        # Reads do not use the standby either, so they see what was just written.
        assert await is_primary(service)


async def test_a_silent_server_does_not_use_up_the_time_of_the_others(pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        url = pair.primary.database_url.replace("@127.0.0.1:", f"@127.0.0.1:{port},127.0.0.1:")
        async with running(settings_for(url)):
            pass


async def test_a_primary_that_is_closed_for_writes_and_opened_again_needs_no_restart(pair: Pair) -> None:
    async with running(settings_for(pair.url())) as (service, api):
        batch = await api.record(new("sku"), 10)
        before = refusals()
        with closed_for_writes(pair):
            # Existing connections get the new setting a moment later.
            await eventually(lambda: is_refused(api))
            await assert_reports_a_read_only_database(service, api)
            assert refusals() > before
            await api.batch(batch)
        await assert_heals(service, api)


async def test_after_one_refusal_no_writer_uses_a_connection_of_the_same_age(pair: Pair) -> None:
    async with running(settings_for(pair.primary.database_url)) as (service, api):
        outbox = OutboxReader(service.cells.engines[0], lease=1.0)
        await make_read_only(service.engine, 3)
        with pytest.raises(TemporarilyUnavailableError, match="read-only"):
            await outbox.claim()
        for _ in range(3):
            assert await outbox.claim()
        await outbox.leave()
        await make_read_only(service.engine, 3)
        assert await writes(api)
        assert await outbox.claim()
        await outbox.leave()


async def test_the_first_reads_after_a_restart_are_answered(pair: Pair) -> None:
    async with running(settings_for(pair.url())) as (_, api):
        ref = await api.record(new("sku"), 10)
        await asyncio.gather(*(api.batch(ref) for _ in range(8)))
        pair.primary.stop()
        pair.primary.start()
        await asyncio.gather(*(api.batch(ref) for _ in range(8)))


async def test_a_read_whose_connection_dies_under_it_is_answered(pair: Pair) -> None:
    async with running(settings_for(pair.url())) as (service, _):
        reader = Reader(cells_of(service.read_engine))
        slow = asyncio.create_task(reader.fetch(text("SELECT 42 FROM pg_sleep(CAST(:s AS float8))"), {"s": 0.5}, of=""))
        async with raw_connection(pair.primary.admin_url) as other:

            async def ended() -> bool:
                return bool(
                    await other.fetchval(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
                    )
                )

            await eventually(ended)
        assert [tuple(row) for row in await slow] == [(42,)]


async def test_reads_may_prefer_a_standby(pair: Pair) -> None:
    read_url = SecretStr(f"{pair.url()}?target_session_attrs=prefer-standby")
    settings = settings_for(pair.url()).model_copy(update={"read_database_url": read_url})
    async with bootstrap(settings) as service:
        assert not await is_primary(service)
        pair.fail_over()
        await eventually(lambda: is_primary(service))


@pytest.mark.skipif(promtool.find() is None, reason="there is no promtool; `make promtool` fetches it")
async def test_a_database_that_keeps_refusing_writes_raises_an_alert(pair: Pair, name: Proxy) -> None:
    """The series has the values of the real metric, read after the requests of each minute."""
    rules = Path(__file__).parents[2] / "deploy/observability/alerts.yml"
    series = 'allocation_database_read_only_refusals_total{instance="api"}'
    assert pair.standby is not None
    values = [refusals()] * 8
    async with running(by_name(pair, name)) as (_, api):
        name.lead_to(pair.standby.port)
        for _ in range(24):
            assert await is_refused(api)
            values.append(refusals())
    assert promtool.fires(rules, "AllocationDatabaseReadOnly", series, values)
    assert not promtool.fires(rules, "AllocationDatabaseReadOnly", series, values[:16] + values[15:16] * 16)


async def test_a_commit_that_the_synchronous_standby_lacks_is_not_acknowledged(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of both timeouts, so that either can end the wait.
    monkeypatch.setattr(connections, "COMMAND_TIMEOUT", 2)
    monkeypatch.setattr(unit_of_work, "COMMIT_TIMEOUT", 2.0, raising=False)
    engine = create_engine(pair.url(), pool_size=3)
    bus = bus_over(engine, RetryPolicy(attempts=1))
    with standby_stopped(pair):
        (outcome,) = await play(bus, CreateBatch(ref="waits-for-the-standby", sku="CHAIR", qty=10))
        assert isinstance(outcome.error, TemporarilyUnavailableError)
        with pytest.raises(BatchNotFoundError):
            await queries_over(engine).batch("waits-for-the-standby")

    async def is_there() -> bool:
        try:
            return (await queries_over(engine).batch("waits-for-the-standby")).qty == 10
        except BatchNotFoundError:
            return False

    await eventually(is_there)
    await engine.dispose()
