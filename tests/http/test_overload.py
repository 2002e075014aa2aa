"""Requests beyond the limit of concurrency are refused at once, before the application receives them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from app.bootstrap import bootstrap
from app.entrypoints.listening import listen, url_of
from app.entrypoints.server import serve
from app.settings import Settings
from tests.support.api import assert_problem, new
from tests.support.database import raw_connection, waiting_for_a_lock

MOST = 5


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The service behind a socket, with its own HTTP protocol; a client of it."""
    started = asyncio.Event()
    with listen("127.0.0.1", 0) as listener:
        async with bootstrap(settings) as service, httpx.AsyncClient(base_url=url_of(listener), timeout=60) as client:
            alive, held = os.pipe()
            serving = asyncio.create_task(serve(service, listener, on_started=started.set, parent_pipe=alive))
            await started.wait()
            try:
                yield client
            finally:
                os.close(held)
                await serving
                os.close(alive)


async def test_requests_beyond_the_limit_are_refused_and_the_others_answered(settings: Settings) -> None:
    settings = settings.model_copy(update={"http_max_concurrent": MOST, "bus_workers": 1})
    sku, url = new("sku"), settings.database_url.get_secret_value()
    async with served(settings) as client, raw_connection(url, cell_of=sku) as blocker:
        await client.post("/v1/batches", json={"ref": new("batch"), "sku": sku, "qty": 100})
        line = {"sku": sku, "qty": 1}

        async with blocker.transaction():
            await blocker.execute("SELECT FROM products WHERE sku = $1 FOR UPDATE", sku)
            taken = [
                asyncio.create_task(client.post("/v1/allocations", json=line | {"order_id": f"order-{number}"}))
                for number in range(MOST)
            ]
            await waiting_for_a_lock(settings.database_url.get_secret_value())
            async with asyncio.timeout(60):
                while (await client.get("/v1/batches/none")).status_code == 404:
                    pass  # Not all requests have arrived yet.

            refused = await client.post("/v1/allocations", json=line | {"order_id": "order-x"})
            assert_problem(refused, 503, "overloaded")
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["x-request-id"]
            named = await client.get("/v1/batches/b%22?x=1", headers={"X-Request-ID": "mine"})
            assert_problem(named, 503, "overloaded")
            assert named.json()["instance"] == "/v1/batches/b%22"
            assert named.headers["x-request-id"] == "mine"
            for path in ("/livez", "/readyz", "/metrics"):
                assert (await client.get(path)).status_code == 200

        assert {answer.status_code for answer in await asyncio.gather(*taken)} == {201}
        assert (await client.get(f"/v1/products/{sku}")).json()["allocated_qty"] == MOST
        assert 'http_requests_total{method="POST",route="none",status="503"} ' in (await client.get("/metrics")).text
