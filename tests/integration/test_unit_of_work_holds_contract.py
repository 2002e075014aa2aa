"""The contract of the unit of work about holds, kept by PostgreSQL and by the fake."""

from datetime import timedelta

import pytest

from app.domain.product import Product
from app.service_layer.lock_sets import LockSet
from tests.support.backends import SKU, Backend, line, load, record
from tests.support.holds import MICROSECOND


async def hold(backend: Backend, *ends: tuple[str, int], sku: str = SKU) -> Product:
    """Hold a line of 2 pieces for each of the orders, for these seconds."""
    async with backend.begin() as uow:
        await uow.products.load(LockSet(skus={sku}, lines={(order_id, sku) for order_id, _ in ends}))
        product = uow.products.get_or_create(sku)
        for order_id, seconds in ends:
            product.allocate(line(order_id, 2, sku), "reject", product.end_of_hold(seconds))
        await uow.commit()
        return product


async def test_a_hold_is_stored_with_its_end_its_sums_and_its_clock(backend: Backend) -> None:
    await record(backend, "batch-1", 10, ("order-1", 3))
    before = await hold(backend, ("order-2", 600), ("order-3", 60))

    async with backend.begin() as uow:
        product = await load(uow, "order-1", "order-2")
        assert product.allocations["order-1"].held_until is None
        assert product.allocations["order-2"].held_until == before.now + timedelta(seconds=600)
        assert (product.held_qty, product.earliest_hold_end) == (4, before.now + timedelta(seconds=60))
        assert product.hold_clock == before.now
        assert product.now >= before.now
        batch = product.batches.find("batch-1")
        assert (batch.allocated_qty, batch.held_qty, batch.allocated_lines) == (7, 4, 1)


async def test_a_confirmation_a_cancellation_and_a_new_end_are_stored(backend: Backend) -> None:
    await record(backend, "batch-1", 10)
    await hold(backend, ("order-1", 60), ("order-2", 60), ("order-3", 60))
    async with backend.begin() as uow:
        product = await load(uow, "order-1", "order-2", "order-3")
        product.allocate(line("order-1", 2), "reject")
        product.cancel("order-2")
        later = product.hold(line("order-3", 3), product.end_of_hold(90)).held_until
        await uow.commit()

    async with backend.begin() as uow:
        product = await load(uow, "order-1", "order-2", "order-3")
        held = {order_id: each.held_until for order_id, each in product.allocations.items()}
        assert held == {"order-1": None, "order-3": later}
        batch = product.batches.find("batch-1")
        assert (batch.allocated_qty, batch.held_qty, batch.allocated_lines, product.held_qty) == (5, 3, 1, 3)


async def test_fetches_no_hold_before_its_end(backend: Backend) -> None:
    await record(backend, "batch-1", 10)
    before = await hold(backend, ("order-1", 60))
    async with backend.begin() as uow:
        product = await load(uow)
        product.set_time(
            before.now + timedelta(seconds=60) - MICROSECOND, (before.now + timedelta(seconds=60) - MICROSECOND).date()
        )
        assert not await uow.products.fetch_overdue_holds(limit=9)


@pytest.mark.parametrize("limit", [3, 9])
async def test_fetches_the_holds_that_have_ended_by_their_ends_each_with_its_batch(
    backend: Backend, limit: int
) -> None:
    await record(backend, "batch-1", 8)
    before = await hold(backend, ("order-1", 30), ("order-2", 10), ("order-3", 10), ("order-4", 40))
    async with backend.begin() as uow:
        product = await load(uow)
        # The batch is not read before, because it has nothing left.
        assert set(product.batches) == set()
        product.set_time(before.now + timedelta(seconds=30), (before.now + timedelta(seconds=30)).date())
        (overdue,) = await uow.products.fetch_overdue_holds(limit=limit)

        assert overdue.product is product
        assert overdue.keys == ["order-2", "order-3", "order-1"]
        assert overdue.earliest_end == before.now + timedelta(seconds=40)
        assert {each.batch for each in product.allocations.values()} == {product.batches.find("batch-1")}
        assert product.batches.find("batch-1").overdue_qty == 0
        product.expire_holds(overdue.keys, overdue.earliest_end)
        assert not product.has_overdue_holds
        await uow.commit()

    async with backend.begin() as uow:
        product = await load(uow, "order-1", "order-2", "order-3", "order-4")
        assert set(product.allocations) == {"order-4"}
        assert (product.held_qty, product.batches.find("batch-1").held_qty) == (2, 2)
        assert product.earliest_hold_end == before.now + timedelta(seconds=40)
        assert product.hold_clock == before.now + timedelta(seconds=30)
        # The clock of this unit of work is behind.
        assert product.now == product.hold_clock


async def test_of_too_many_holds_that_have_ended_the_others_are_summed_by_batch(backend: Backend) -> None:
    await record(backend, "batch-1", 8)
    before = await hold(backend, *((f"order-{number}", number) for number in range(1, 5)))
    async with backend.begin() as uow:
        product = await load(uow)
        product.set_time(before.now + timedelta(seconds=3), (before.now + timedelta(seconds=3)).date())
        (overdue,) = await uow.products.fetch_overdue_holds(limit=2)
        assert overdue.keys == ["order-1", "order-2"]
        assert overdue.earliest_end is not None
        assert overdue.earliest_end <= product.now

        product.expire_holds(overdue.keys, overdue.earliest_end)
        assert product.has_overdue_holds
        assert product.batches.find("batch-1").overdue_qty == 2
        await uow.commit()

    async with backend.begin() as uow:
        product = await load(uow)
        product.set_time(before.now + timedelta(seconds=3), (before.now + timedelta(seconds=3)).date())
        (overdue,) = await uow.products.fetch_overdue_holds(limit=2)
        assert (overdue.keys, overdue.earliest_end) == (["order-3"], before.now + timedelta(seconds=4))


async def test_the_limit_is_one_for_all_products(backend: Backend) -> None:
    await record(backend, "batch-1", 8)
    async with backend.begin() as uow:
        await uow.products.load(LockSet(skus={"TABLE"}, batch_refs={"t"}, batches_to_create={("t", "TABLE")}))
        uow.products.get_or_create("TABLE").create_batch("t", 8, None)
        await uow.commit()
    before = await hold(backend, ("order-1", 1), ("order-2", 1))
    await hold(backend, ("order-1", 1), ("order-2", 1), sku="TABLE")
    async with backend.begin() as uow:
        await uow.products.load(LockSet(skus={SKU, "TABLE"}))
        for sku in (SKU, "TABLE"):
            product = uow.products.get(sku)
            assert product is not None
            product.set_time(before.now + timedelta(minutes=1), (before.now + timedelta(minutes=1)).date())
        overdue = await uow.products.fetch_overdue_holds(limit=3)

        assert sorted(len(each.keys) for each in overdue) == [1, 2]
        for each in overdue:
            each.product.expire_holds(each.keys, each.earliest_end)
        assert sorted(each.product.has_overdue_holds for each in overdue) == [False, True]


async def test_a_cut_fetches_holds_before_firm_lines_the_one_held_last_first(backend: Backend) -> None:
    await record(backend, "batch-1", 10, ("firm-1", 2), ("firm-2", 2))
    await hold(backend, ("held-1", 60), ("held-2", 60))
    async with backend.begin() as uow:
        product = await load(uow, "firm-3")
        product.allocate(line("firm-3", 2), "backorder")
        await uow.commit()
    for qty, expected in ((1, {"held-2"}), (3, {"held-1", "held-2"}), (5, {"held-1", "held-2", "firm-3"})):
        async with backend.begin() as uow:
            product = await load(uow, refs=("batch-1",))
            await uow.products.fetch_last_allocated(product, product.batches.find("batch-1"), qty)
            assert set(product.allocations) == expected


async def test_the_first_orders_of_a_batch_are_firm(backend: Backend) -> None:
    await record(backend, "batch-1", 10)
    await hold(backend, ("held-1", 60))
    async with backend.begin() as uow:
        product = await load(uow, "firm-1", refs=("batch-1",))
        product.allocate(line("firm-1", 2), "backorder")
        batch = product.batches.find("batch-1")
        assert await uow.products.first_orders(product, batch, limit=9) == ["firm-1"]
        found = await uow.products.fetch_allocated(product, batch, max_qty=9, after=0, limit=9)
        assert found == ["held-1", "firm-1"]
