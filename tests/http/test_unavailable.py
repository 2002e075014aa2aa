"""A database that is unreachable, silent or of an old schema: 503 with Retry-After, in time, and never 500."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from httpx import Response
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import make_url

from app.bootstrap import bootstrap
from app.embedded.process import free_port
from app.entrypoints.http.identity import Gate
from app.service_layer.callers import Caller
from app.settings import Settings
from tests.support.api import Api, assert_problem, bearer, in_process, new

BODY = {"ref": "batch-1", "sku": "sku-1", "qty": 1}
CALLS = [
    ("POST", "/v1/batches", BODY),
    ("GET", "/v1/batches/batch-1", None),
    ("PATCH", "/v1/batches/batch-1", {"qty": 1}),
    ("POST", "/v1/allocations", {"order_id": "order-1", "sku": "sku-1", "qty": 1}),
    ("GET", "/v1/allocations/order-1", None),
    ("DELETE", "/v1/allocations/order-1/sku-1", None),
    ("PATCH", "/v1/allocations/order-1/sku-1", {"qty": 1}),
    ("GET", "/v1/products/sku-1", None),
    ("GET", "/v1/products/sku-1/history", None),
    ("GET", "/v1/products/sku-1/availability?qty=1", None),
    ("GET", "/v1/backorders", None),
    ("GET", "/v1/overview", None),
    ("GET", "/v1/activity", None),
    ("GET", "/v1/shortages", None),
    ("GET", "/v1/batches/any/lines", None),
    ("GET", "/v1/search?prefix=a", None),
    ("POST", "/v1/allocations?dry_run=true", {"order_id": "order-1", "sku": "sku-1", "qty": 1}),
    ("GET", "/readyz", None),
]


def away() -> Settings:
    """Settings with the address of a database that does not exist."""
    return Settings(
        _env_file=None,
        auth="none",
        database_url=SecretStr(f"postgresql+asyncpg://allocation@127.0.0.1:{free_port()}/nowhere"),
    )


def moved_to(settings: Settings, port: int) -> Settings:
    """The settings with another port for the database."""
    url = make_url(settings.database_url.get_secret_value()).set(port=port).render_as_string(hide_password=False)
    return settings.model_copy(update={"database_url": SecretStr(url), "shutdown_grace": 0.1})


@contextmanager
def answering_503() -> Iterator[list[Response]]:
    """Check that each collected response is a 503 with Retry-After, and that the block takes less than 10 seconds."""
    started = time.monotonic()
    answers: list[Response] = []
    yield answers
    assert time.monotonic() - started < 10
    assert answers
    for answer in answers:
        assert_problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 0


@asynccontextmanager
async def service_over(settings: Settings) -> AsyncIterator[Api]:
    async with bootstrap(settings) as service, in_process(service) as api:
        yield api


async def test_every_call_gets_503_while_the_database_is_unreachable() -> None:
    async with service_over(away()) as api:
        with answering_503() as answers:
            calls = [api.client.request(how, path, json=body) for how, path, body in CALLS]
            answers.extend(await asyncio.gather(*calls))


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """A server that accepts connections and never responds. Yields its port."""
    closed = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closed.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        closed.set()
        server.close()


async def test_calls_and_a_burst_get_503_in_time_if_the_database_never_responds() -> None:
    async with silent_server() as port, service_over(moved_to(away(), port)) as api:
        with answering_503() as answers:
            calls = [api.client.request(how, path, json=body) for how, path, body in CALLS]
            reads = [api.client.get(f"/v1/batches/{new('batch')}") for _ in range(100)]
            writes = [api.allocate(new("sku"), 1) for _ in range(100)]
            answers.extend(await asyncio.gather(*calls, *reads, *writes))


async def test_a_locked_product_gives_503_in_time_and_later_the_answer(settings: Settings) -> None:
    impatient = settings.model_copy(update={"http_deadline": 1.0})
    async with bootstrap(impatient) as service, in_process(service) as api:
        sku = new("sku")
        await api.record(sku, 10)
        async with service.cells.engine_of(sku).begin() as connection:
            await connection.execute(text("SELECT 1 FROM products FOR UPDATE"))
            with answering_503() as answers:
                answers.append(await api.allocate(sku, 1, order_id="order-1"))
        answer = await api.allocate(sku, 1, order_id="order-1")
        assert answer.status_code in {200, 201}
        assert (await api.product(sku))["allocated_qty"] == 1


async def test_a_database_that_comes_back_is_used_again(settings: Settings) -> None:
    port = free_port()
    true_port = make_url(settings.database_url.get_secret_value()).port
    assert true_port is not None
    async with service_over(moved_to(settings, port)) as api:
        assert_problem(await api.client.post("/v1/batches", json=BODY), 503, "unavailable")
        async with forwarding(port, true_port):
            assert (await api.client.post("/v1/batches", json=BODY)).status_code in {200, 201}
            assert (await api.client.get("/readyz")).status_code == 200
        # The pool's connections are dead now, which the next request must not answer with an error of ours.
        with answering_503() as answers:
            answers.append(await api.client.get("/v1/batches/batch-1"))
            answers.append(await api.client.post("/v1/batches", json=BODY))
        async with forwarding(port, true_port):
            assert (await api.client.get("/v1/batches/batch-1")).json()["qty"] == 1


@asynccontextmanager
async def forwarding(port: int, target: int) -> AsyncIterator[None]:
    """A proxy in front of the database; at the end of the block all its connections break."""
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        finally:
            writer.transport.abort()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", target)
        for ends in ((reader, there_writer), (there_reader, writer)):
            tasks.add(asyncio.create_task(pump(*ends)))

    server = await asyncio.start_server(connect, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_more_than_the_queue_holds_is_overload(shared_settings: Settings) -> None:
    small = shared_settings.model_copy(update={"bus_queue_limit": 5})
    async with service_over(small) as api:
        sku = new("sku")
        await api.record(sku, 1000)
        answers = await asyncio.gather(*(api.allocate(sku, 1) for _ in range(100)))
        taken = [answer for answer in answers if answer.status_code == 201]
        refused = [answer for answer in answers if answer.status_code != 201]
        assert len(taken) >= 5
        assert refused
        for answer in refused:
            assert_problem(answer, 503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 0
        # The refused requests had no effect, and afterwards the queue has room again.
        assert (await api.product(sku))["allocated_qty"] == len(taken)
        assert (await api.allocate(sku, 1)).status_code == 201


async def test_readiness_reports_that_the_database_is_unreachable() -> None:
    async with service_over(away()) as api:
        problem = assert_problem(await api.client.get("/readyz"), 503, "unavailable")
        assert "database" in problem["detail"]


async def test_readiness_reports_that_the_schema_is_missing(empty_database_url: str) -> None:
    settings = Settings(_env_file=None, auth="none", database_url=SecretStr(empty_database_url))
    async with service_over(settings) as api:
        answer = await api.client.get("/readyz")
        problem = assert_problem(answer, 503, "unavailable")
        assert "schema" in problem["detail"]
        assert "retry-after" in answer.headers


async def test_readiness_reports_that_the_schema_is_of_an_older_revision(settings: Settings) -> None:
    async with bootstrap(settings) as service, in_process(service) as api:
        assert (await api.client.get("/readyz")).status_code == 200
        async with service.cells.control.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        problem = assert_problem(await api.client.get("/readyz"), 503, "unavailable")
        assert "schema" in problem["detail"]


async def test_old_code_stays_ready_while_the_schema_is_of_a_newer_revision(settings: Settings) -> None:
    """An upgrade migrates first and then replaces the processes. In between, the old ones must serve."""
    async with bootstrap(settings) as service, in_process(service) as api:
        for engine in service.cells.all_engines:
            async with engine.begin() as connection:
                await connection.execute(text("UPDATE alembic_version SET version_num = 'of-a-later-release'"))
        assert (await api.client.get("/readyz")).status_code == 200
        await api.record(new("sku"), 1)


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/docs", "/openapi.json"])
async def test_what_needs_no_database_is_answered_without_it(path: str) -> None:
    async with silent_server() as port, service_over(moved_to(away(), port)) as api:
        async with asyncio.timeout(1):
            assert (await api.client.get(path)).status_code == 200


async def test_bad_requests_are_answered_without_the_database() -> None:
    async with service_over(away()) as api:
        assert_problem(await api.client.post("/v1/batches", json=BODY | {"qty": 0}), 422, "invalid-request")
        assert_problem(await api.client.post("/v1/batches", content=b"{"), 400, "malformed-body")
        assert_problem(await api.client.get("/nowhere"), 404, "not-found")


class Silent:
    """Implements `Authenticator`; never returns a result."""

    takes_key_header = False

    def recall(self, credentials: str) -> Caller | None:
        return None

    async def check(self, credentials: str) -> Caller:
        await asyncio.Event().wait()
        raise AssertionError


async def test_an_authenticator_that_does_not_respond_gives_503_in_time(shared_settings: Settings) -> None:
    async with bootstrap(shared_settings) as service, in_process(service) as api:
        services = api.client._transport.app.state.services  # type: ignore[attr-defined]
        services.gate, services.deadline = Gate(Silent(), None), 0.05
        with answering_503() as answers:
            async with asyncio.timeout(60):
                answers.append(await api.client.get("/v1/batches/b-1", headers=bearer("token")))
