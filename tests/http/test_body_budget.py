"""The total size of unfinished bodies is limited over all connections; small requests are still answered."""

import asyncio
from contextlib import AsyncExitStack

import httpx

from app.entrypoints.http.body_budget import SMALL_BODY, BodyBudget
from app.settings import Settings
from tests.http.test_connections import Wire, connected
from tests.http.test_overload import served
from tests.support.api import new
from tests.support.waiting import eventually

LARGE = 200_000
MOST = 1_000_000
STALLED = 12


async def held(client: httpx.AsyncClient) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("allocation_http_bodies_bytes "))


async def stall(wire: Wire) -> None:
    """Send a bulk request without its last byte."""
    head = b"POST /v1/batches/bulk HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    await wire.send(head + b"Content-Length: %d\r\n\r\n" % (LARGE + 1), b" " * LARGE)


async def test_stalled_bodies_have_a_limit_and_others_are_answered(shared_settings: Settings) -> None:
    changed = {"http_max_bodies_bytes": MOST, "http_max_bulk_body_bytes": 300_000, "http_read_timeout": 300.0}
    async with served(shared_settings.model_copy(update=changed)) as client, AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(connected(client)) for _ in range(STALLED)]
        await asyncio.gather(*(stall(wire) for wire in wires))
        answers = [asyncio.create_task(wire.reader.readuntil(b"\r\n\r\n")) for wire in wires]
        fitting = MOST * 3 // 4 // LARGE

        async def others_are_refused() -> bool:
            return sum(answer.done() for answer in answers) >= STALLED - fitting

        await eventually(others_are_refused)
        refused = [answer.result() for answer in answers if answer.done()]
        assert {answer.split(b" ", 2)[1] for answer in refused} == {b"503"}
        assert 0 < await held(client) <= MOST * 3 / 4
        batch = {"ref": new("batch"), "sku": new("sku"), "qty": 1}
        assert (await client.post("/v1/batches", json=batch)).status_code == 201

        for wire, answer in zip(wires, answers, strict=True):
            if answer.done():
                # The rest of a refused body is read, and the connection serves the next request.
                await wire.reader.readexactly(int(answer.result().lower().split(b"content-length: ")[1].split()[0]))
                await wire.send(b" GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await wire.answer())[0] == 200
            else:
                answer.cancel()
                wire.writer.transport.abort()
        await asyncio.gather(*answers, return_exceptions=True)

        async def nothing_is_held() -> bool:
            return await held(client) == 0

        await eventually(nothing_is_held)


def test_small_bodies_can_use_the_rest_of_the_budget() -> None:
    budget = BodyBudget(40_000)
    assert budget.take(30_000, 0)
    assert not budget.take(1, 30_000)
    assert not budget.take(SMALL_BODY + 1, 0)
    assert budget.take(SMALL_BODY, 0)
    assert budget.take(SMALL_BODY, 0)
    assert not budget.take(SMALL_BODY, 0)
    budget.release(30_000)
    assert budget.take(SMALL_BODY + 1, 0)
    assert budget.held == 3 * SMALL_BODY + 1
