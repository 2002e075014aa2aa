"""While another session locks a product, requests for other products are not delayed."""

import asyncio
import time

from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Api, assert_problem, new
from tests.support.cells import cells_of

LOCK = text("SELECT FROM products WHERE sku = :sku FOR UPDATE")


async def test_requests_for_other_products_are_answered_and_those_for_the_locked_one_are_not_lost(
    api: Api, engine: AsyncEngine
) -> None:
    locked, others = new("sku"), [new("sku") for _ in range(20)]
    for sku in (locked, *others):
        await api.record(sku, 100)

    async with cells_of(engine).engine_of(locked).begin() as connection:
        await connection.execute(LOCK, {"sku": locked})
        held = [asyncio.create_task(api.allocate(locked, 1)) for _ in range(5)]
        started = time.monotonic()
        for _ in range(3):
            answers = await asyncio.gather(*(api.allocate(sku, 1) for sku in others), api.allocate(others[0], 2))
            held.append(asyncio.create_task(api.allocate(locked, 1)))
            assert {answer.status_code for answer in answers} == {201}
        # A wait for the lock lasts 3 s.
        assert time.monotonic() - started < 3
        assert not any(task.done() for task in held)
    assert {(await task).status_code for task in held} == {201}
    assert (await api.client.get(f"/v1/products/{locked}")).json()["allocated_qty"] == 8


async def test_a_request_whose_product_stays_locked_is_refused_in_time_and_has_no_effect_later(
    api: Api, engine: AsyncEngine
) -> None:
    sku = new("sku")
    await api.record(sku, 100)
    waited = REGISTRY.get_sample_value("allocation_lock_wait_seconds_sum") or 0.0

    async with cells_of(engine).engine_of(sku).begin() as connection:
        await connection.execute(LOCK, {"sku": sku})
        started = time.monotonic()
        answers = await asyncio.gather(*(api.allocate(sku, 1) for _ in range(10)))
        assert time.monotonic() - started < 10
    # A failed wait is measured as well; otherwise no alert would fire.
    assert (REGISTRY.get_sample_value("allocation_lock_wait_seconds_sum") or 0.0) >= waited + 3
    for answer in answers:
        assert_problem(answer, 503, "unavailable")
        assert answer.headers["Retry-After"]
    assert (await api.allocate(sku, 1)).status_code == 201
    assert (await api.client.get(f"/v1/products/{sku}")).json()["allocated_qty"] == 1
