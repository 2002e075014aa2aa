"""Concurrent callers of one instance and of two: each gets its own response, and the sums are right."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import AsyncExitStack

import pytest
from httpx import Response

from app.bootstrap import bootstrap
from app.settings import Settings
from tests.support.api import Api, in_process, new


@pytest.fixture(params=[1, 2], ids=["one instance", "two instances"])
async def callers(shared_settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[list[Api]]:
    """Services over one database that share no state, as replicas do."""
    async with AsyncExitStack() as stack:
        services = [await stack.enter_async_context(bootstrap(shared_settings)) for _ in range(request.param)]
        yield [await stack.enter_async_context(in_process(service)) for service in services]


async def statuses(requests: Iterable[Awaitable[Response]]) -> Counter[int]:
    return Counter(answer.status_code for answer in await asyncio.gather(*requests))


async def test_200_requests_for_one_unit_of_100_are_100_lines_and_100_refusals(callers: list[Api]) -> None:
    sku = new("sku")
    refs = [await callers[0].record(sku, 50), await callers[0].record(sku, 50, eta="2011-01-01")]
    answers = await asyncio.gather(
        *(callers[n % len(callers)].allocate(sku, 1, if_unavailable="reject") for n in range(200))
    )
    assert Counter(answer.status_code for answer in answers) == {201: 100, 409: 100}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"out-of-stock"}
    taken = Counter(answer.json()["batch_ref"] for answer in answers if answer.status_code == 201)
    assert taken == dict.fromkeys(refs, 50)
    product = await callers[0].product(sku)
    assert (product["allocated_qty"], product["available_qty"], product["backordered_qty"]) == (100, 0, 0)


async def test_the_same_line_fifty_times_at_once_is_one_line(callers: list[Api]) -> None:
    sku, order = new("sku"), new("order")
    ref = await callers[0].record(sku, 1000)
    answers = await asyncio.gather(*(callers[n % len(callers)].allocate(sku, 3, order_id=order) for n in range(50)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 49}
    assert len({answer.text for answer in answers}) == 1
    assert (await callers[0].batch(ref))["allocated_qty"] == 3


async def test_a_line_with_two_quantities_at_once_is_one_line_and_conflicts(callers: list[Api]) -> None:
    sku, order = new("sku"), new("order")
    ref = await callers[0].record(sku, 1000)
    requests = (callers[n % len(callers)].allocate(sku, 3 + n // 10, order_id=order) for n in range(20))
    assert await statuses(requests) == {201: 1, 200: 9, 409: 10}
    (line,) = await callers[0].lines(order)
    assert (await callers[0].batch(ref))["allocated_qty"] == line["qty"]


async def test_first_batches_of_a_new_sku_at_once_are_all_recorded(callers: list[Api]) -> None:
    for _ in range(5):
        sku = new("sku")
        refs = [new("batch") for _ in range(6)]
        bodies = [{"ref": ref, "sku": sku, "qty": 1} for ref in refs]
        requests = (callers[n % len(callers)].client.post("/v1/batches", json=body) for n, body in enumerate(bodies))
        assert await statuses(requests) == {201: 6}
        assert {batch["ref"] for batch in (await callers[0].product(sku))["batches"]} == set(refs)


async def test_the_same_new_batch_many_times_at_once_is_one_batch(callers: list[Api]) -> None:
    for _ in range(5):
        sku = new("sku")
        body = {"ref": new("batch"), "sku": sku, "qty": 7}
        requests = (callers[n % len(callers)].client.post("/v1/batches", json=body) for n in range(10))
        assert await statuses(requests) == {201: 1, 200: 9}
        assert (await callers[0].product(sku))["available_qty"] == 7


async def test_one_ref_for_several_new_skus_at_once_goes_to_one_of_them(callers: list[Api]) -> None:
    for _ in range(5):
        ref, skus = new("batch"), [new("sku") for _ in range(6)]
        bodies = [{"ref": ref, "sku": sku, "qty": 7} for sku in skus]
        requests = (callers[n % len(callers)].client.post("/v1/batches", json=body) for n, body in enumerate(bodies))
        assert await statuses(requests) == {201: 1, 409: 5}
        shown = [(await callers[-1].client.get(f"/v1/products/{sku}")).status_code for sku in skus]
        assert Counter(shown) == {200: 1, 404: 5}


async def test_allocations_racing_a_cut_never_oversell_and_lose_no_line(callers: list[Api]) -> None:
    sku = new("sku")
    cut, other = await callers[0].record(sku, 40), await callers[0].record(sku, 20, eta="2011-01-01")
    orders = [new("order") for _ in range(60)]
    lines = [callers[n % len(callers)].allocate(sku, 1, order_id=order) for n, order in enumerate(orders)]
    changes = [
        callers[n % len(callers)].client.patch(f"/v1/batches/{cut}", json={"qty": qty})
        for n, qty in enumerate([30, 10, 35, 5])
    ]
    both = [call for pair in zip(lines[::15], changes, strict=True) for call in pair]
    answers = await asyncio.gather(*both, *(call for call in lines if call not in both))
    assert {answer.status_code for answer in answers} <= {200, 201, 202}
    await callers[0].change(cut, qty=5)
    placed = Counter([await callers[0].batch_of(order) for order in orders])
    assert placed == {cut: 5, other: 20, None: 35}
    product = await callers[0].product(sku)
    assert (product["allocated_qty"], product["available_qty"], product["backordered_qty"]) == (25, 0, 35)


async def test_cancellations_and_lines_at_once_leave_the_sums_right(callers: list[Api]) -> None:
    sku = new("sku")
    ref = await callers[0].record(sku, 10)
    held = [await callers[0].order(sku, 1) for _ in range(10)]
    waiting = [new("order") for _ in range(10)]
    calls = [callers[0].client.delete(f"/v1/allocations/{order}/{sku}") for order in held]
    calls += [callers[-1].allocate(sku, 1, order_id=order) for order in waiting]
    answers = await statuses(calls)
    assert answers[204] == 10
    assert answers[201] + answers[202] == 10
    assert [await callers[0].batch_of(order) for order in waiting] == [ref] * 10


async def test_the_same_cancellation_at_once_succeeds_once(callers: list[Api]) -> None:
    sku = new("sku")
    await callers[0].record(sku, 10)
    order = await callers[0].order(sku, 1)
    path = f"/v1/allocations/{order}/{sku}"
    assert await statuses(callers[n % len(callers)].client.delete(path) for n in range(10)) == {204: 1, 404: 9}


async def test_batches_of_several_skus_changed_crosswise_do_not_block_each_other(callers: list[Api]) -> None:
    skus = [new("sku") for _ in range(4)]
    refs = [await callers[0].record(sku, 10) for sku in skus]
    calls = [
        callers[n % len(callers)].client.patch(f"/v1/batches/{ref}", json={"qty": 10 + n})
        for n in range(20)
        for ref in (refs if n % 2 else reversed(refs))
    ]
    assert await statuses(calls) == {200: 80}


async def test_1000_requests_at_once_are_not_refused_as_overload(api: Api) -> None:
    skus = [new("sku") for _ in range(10)]
    refs = [await api.record(sku, 100) for sku in skus]
    writes = [api.allocate(skus[n % 10], 1) for n in range(1000)]
    assert await statuses(writes) == {201: 1000}
    reads = [api.client.get(f"/v1/batches/{refs[n % 10]}") for n in range(1000)]
    assert await statuses(reads) == {200: 1000}
