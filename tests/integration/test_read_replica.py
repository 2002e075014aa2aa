"""Reading from a replica: a second PostgreSQL that follows the first one by streaming replication."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from app.bootstrap import Service, bootstrap
from app.embedded.postgresql import EmbeddedPostgresql
from app.operations import doctor
from app.settings import Settings
from faults.pair import clone
from tests.conftest import url_of_database
from tests.support.api import Api, assert_problem, in_process, new
from tests.support.database import raw_connection
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def replica(postgresql: EmbeddedPostgresql, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgresql]:
    """A hot standby of the server of all tests."""
    with clone(postgresql, tmp_path_factory.mktemp("replica") / "data") as server:
        yield server


@pytest.fixture
def with_replica(settings: Settings, replica: EmbeddedPostgresql) -> Settings:
    """The test's database, and the same database on the replica for reading."""
    name = make_url(settings.database_url.get_secret_value()).database
    assert name is not None
    return settings.model_copy(update={"read_database_url": SecretStr(url_of_database(replica, name))})


@asynccontextmanager
async def api_over(settings: Settings) -> AsyncIterator[Api]:
    async with bootstrap(settings) as service, in_process(service) as api:
        yield api


async def becomes(api: Api, path: str, status: int) -> None:
    """Return once a GET is answered with the status."""

    async def is_so() -> bool:
        return (await api.client.get(path)).status_code == status

    await eventually(is_so)


async def test_writes_are_soon_read_from_the_replica(with_replica: Settings) -> None:
    async with api_over(with_replica) as api:
        await becomes(api, "/readyz", 200)
        sku = new("sku")
        ref = await api.record(sku, 10)
        order = await api.order(sku, 4)
        await becomes(api, f"/v1/allocations/{order}", 200)
        assert (await api.batch_of(order), (await api.product(sku))["available_qty"]) == (ref, 6)


@asynccontextmanager
async def behind(replica: EmbeddedPostgresql) -> AsyncIterator[None]:
    """Pause replay on the replica."""
    async with raw_connection(replica.admin_url) as standby:
        await standby.execute("SELECT pg_wal_replay_pause()")
        try:

            async def pauses() -> bool:
                return bool(await standby.fetchval("SELECT pg_get_wal_replay_pause_state() = 'paused'"))

            await eventually(pauses)
            yield
        finally:
            await standby.execute("SELECT pg_wal_replay_resume()")


async def test_the_doctor_reports_a_replica_that_stays_behind(
    with_replica: Settings, replica: EmbeddedPostgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def verdict(service: Service) -> str:
        (finding,) = [each async for each in doctor.examine(service) if each.name == "replica"]
        return finding.verdict

    async with bootstrap(with_replica) as service, in_process(service) as api:
        await becomes(api, "/readyz", 200)
        assert await verdict(service) == "ok"
        async with behind(replica):
            await api.record(new("sku"), 10)
            monkeypatch.setattr(doctor, "LAG_WARNING", 0.2)
            assert await verdict(service) == "warning"


async def test_a_replica_that_is_behind_delays_reads_and_no_decision(
    with_replica: Settings, replica: EmbeddedPostgresql
) -> None:
    """Reads are as old as the replica. This also shows which database answers which request."""
    async with api_over(with_replica) as api:
        await becomes(api, "/readyz", 200)
        async with behind(replica):
            sku = new("sku")
            ref = await api.record(sku, 10)
            assert_problem(await api.client.get(f"/v1/batches/{ref}"), 404, "batch-not-found")
            # Commands are decided on the primary, so responses to writes are never old.
            again = await api.client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": 10})
            assert (again.status_code, again.json()["available_qty"]) == (200, 10)
            order = await api.order(sku, 4)
            assert (await api.change(ref, qty=9))["available_qty"] == 5
            assert await api.lines(order) == []
        await becomes(api, f"/v1/allocations/{order}", 200)


async def test_without_its_replica_the_service_is_not_ready_and_still_writes(
    with_replica: Settings, replica: EmbeddedPostgresql
) -> None:
    async with api_over(with_replica) as api:
        await becomes(api, "/readyz", 200)
        replica.stop()
        try:
            assert_problem(await api.client.get("/readyz"), 503, "unavailable")
            sku = new("sku")
            ref = await api.record(sku, 10)
            assert_problem(await api.client.get(f"/v1/batches/{ref}"), 503, "unavailable")
        finally:
            replica.start()
        await becomes(api, "/readyz", 200)
        await becomes(api, f"/v1/batches/{ref}", 200)
