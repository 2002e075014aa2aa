"""The service over a pair of PostgreSQL servers, and what a failover does to its reads and writes."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from prometheus_client import REGISTRY
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from app.bootstrap import Service, bootstrap
from app.settings import Settings
from faults.pair import Pair, sql
from faults.proxy import Proxy
from tests.support.api import Api, in_process, new


def settings_for(url: str) -> Settings:
    return Settings(_env_file=None, auth="none", database_url=SecretStr(url))


def by_name(pair: Pair, name: Proxy) -> Settings:
    return settings_for(make_url(pair.primary.database_url).set(port=name.port).render_as_string(hide_password=False))


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[Service, Api]]:
    """The service, with connections of every kind in its pools."""
    async with bootstrap(settings) as service, in_process(service) as api:
        ref = await api.record(new("sku"), 10)
        await api.batch(ref)
        assert (await api.client.get("/readyz")).status_code == 200
        yield service, api


async def writes(api: Api) -> bool:
    answer = await api.client.post("/v1/batches", json={"ref": new("batch"), "sku": new("sku"), "qty": 1})
    return answer.status_code == 201


async def is_ready(api: Api) -> bool:
    return (await api.client.get("/readyz")).status_code == 200


def refusals() -> float:
    return REGISTRY.get_sample_value("allocation_database_read_only_refusals_total") or 0.0


async def is_primary(service: Service) -> bool:
    async with service.read_engine.connect() as connection:
        return not (await connection.execute(text("SELECT pg_is_in_recovery()"))).scalar_one()


@contextmanager
def closed_for_writes(pair: Pair) -> Iterator[None]:
    """The primary as an operator closes it for a while."""
    sql(pair.primary, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    try:
        yield
    finally:
        reset = "SET default_transaction_read_only = off"
        sql(pair.primary, reset, "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")


async def is_refused(api: Api) -> bool:
    return not await writes(api)


async def make_read_only(engine: AsyncEngine, number: int) -> None:
    """Put `number` read-only connections into the pool."""
    connections = [await engine.connect() for _ in range(number)]
    for connection in connections:
        await connection.execute(text("SET default_transaction_read_only = on"))
        await connection.commit()
        await connection.close()


@contextmanager
def standby_stopped(pair: Pair) -> Iterator[None]:
    """A synchronous standby that receives nothing, so that a commit of the primary waits for it."""
    assert pair.standby is not None
    receiver = int(sql(pair.standby, "SELECT pid FROM pg_stat_wal_receiver"))
    os.kill(receiver, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(receiver, signal.SIGCONT)
