"""One contract for the unit of work, kept by PostgreSQL and by the fake that the unit tests use.

It shows that both behave alike while one unit of work follows the other or waits for it. What it cannot catch:
locks and deadlocks, lost connections, constraints, the cost of statements, and a commit whose acknowledgement is
lost. Only PostgreSQL has those; see the files `test_postgresql_*.py` beside this one.
"""

import asyncio
from datetime import date

import pytest

from app.domain import events
from app.integration.outbound import OutboundMessage
from app.service_layer.lock_sets import LockSet
from tests.support.backends import CAUSE, SKU, Backend, letter, line, load, record
from tests.support.messages import received


async def test_committed_changes_are_read_by_the_next(backend: Backend) -> None:
    await record(backend, "batch-1", 10, ("order-1", 4))

    async with backend.begin() as uow:
        product = await load(uow, "order-1")
        batch, allocation = product.batches.find("batch-1"), product.allocations["order-1"]

        assert (batch.qty, batch.allocated_qty, batch.number, batch.first_qty) == (10, 4, 1, 10)
        assert (allocation.line, allocation.batch, allocation.allocated_sequence) == (line("order-1", 4), batch, 2)
        assert (product.sequence, product.backordered_qty) == (2, 0)
        assert uow.products.get(SKU) is product


async def test_uncommitted_changes_are_discarded(backend: Backend) -> None:
    await record(backend, "batch-1", 10)

    async with backend.begin() as uow:
        product = await load(uow, "order-1")
        product.allocate(line("order-1", 4), "backorder")
        product.create_batch("batch-2", 5, None)
        uow.outbox.add(OutboundMessage("line_allocated.v1", SKU, 2, "{}"), CAUSE)
        await uow.inbox.accept([received("message-1")])
        await uow.dead_letters.add(letter(1))

    async with backend.begin() as uow:
        product = await load(uow, "order-1", refs=("batch-2",))
        assert (product.sequence, set(product.batches), product.allocations) == (1, {"batch-1"}, {})
        assert product.batches.find("batch-1").allocated_qty == 0
        assert await uow.inbox.accept([received("message-1")]) == {}
    assert await backend.published() == []
    assert await backend.letters() == []


async def test_an_error_rolls_back_even_what_was_flushed(backend: Backend) -> None:
    await record(backend, "batch-1", 10)

    async def go_wrong() -> None:
        async with backend.begin() as uow:
            product = await load(uow)
            product.allocate(line("order-1", 11), "backorder")
            assert await uow.products.fetch_backorders(product, max_qty=99, after=(0, 0), limit=10) == ["order-1"]
            raise RuntimeError("unexpected")

    with pytest.raises(RuntimeError, match="unexpected"):
        await go_wrong()

    async with backend.begin() as uow:
        assert (await load(uow, "order-1")).allocations == {}


async def test_a_sku_or_a_ref_that_was_never_recorded_is_absent(backend: Backend) -> None:
    async with backend.begin() as uow:
        await uow.products.load(LockSet(skus={SKU}, batch_refs={"batch-1"}, lines={("order-1", SKU)}))

        assert uow.products.get(SKU) is None
        assert uow.products.sku_of_batch("batch-1") is None
        await uow.commit()


async def test_a_product_made_for_a_batch_that_was_refused_leaves_nothing(backend: Backend) -> None:
    async with backend.begin() as uow:
        await uow.products.load(LockSet(skus={SKU}, batch_refs={"batch-1"}, batches_to_create={("batch-1", SKU)}))
        assert uow.products.get(SKU) is None
        assert uow.products.sku_of_batch("batch-1") is None
        await uow.commit()

    async with backend.begin() as uow:
        await uow.products.load(LockSet(skus={SKU}, batch_refs={"batch-1"}))
        assert (uow.products.get(SKU), uow.products.sku_of_batch("batch-1")) == (None, None)


async def test_a_ref_loads_its_product_without_the_sku(backend: Backend) -> None:
    await record(backend, "batch-1", 10)

    async with backend.begin() as uow:
        await uow.products.load(LockSet(batch_refs={"batch-1"}))
        product = uow.products.get(SKU)

        assert uow.products.sku_of_batch("batch-1") == SKU
        assert product is not None
        assert set(product.batches) == {"batch-1"}


async def test_a_product_is_loaded_without_its_whole_history(backend: Backend) -> None:
    await record(backend, "sold-out", 4, ("order-1", 4))
    await record(backend, "open", 10, ("order-2", 3))

    async with backend.begin() as uow:
        product = await load(uow)
        assert (set(product.batches), product.allocations) == ({"open"}, {})

    async with backend.begin() as uow:
        product = await load(uow, "order-1", refs=("sold-out",))
        assert set(product.batches) == {"open", "sold-out"}
        assert product.allocations["order-1"].batch is product.batches.find("sold-out")
        assert set(product.allocations) == {"order-1"}


async def test_a_count_reads_the_batches_with_pieces_on_hand_and_the_one_recorded_last(backend: Backend) -> None:
    for ref in ("shipped", "held", "shipped-last"):
        await record(backend, ref, 4, (f"order-{ref}", 4))
    async with backend.begin() as uow:
        product = await load(uow, "order-shipped", "order-shipped-last", "order-incoming")
        product.ship("order-shipped")
        product.ship("order-shipped-last")
        product.create_batch("incoming", 5, date(2030, 1, 1))
        product.allocate(line("order-incoming", 5), "backorder")
        await uow.commit()

    async with backend.begin() as uow:
        product = await load(uow)
        assert set(product.batches) == set()
        await uow.products.fetch_on_hand(product)
        assert set(product.batches) == {"held", "shipped-last"}
        product.change_quantity("shipped-last", 5, "found", None)
        await uow.products.fetch_on_hand(product)
        assert product.batches.find("shipped-last").qty == 5


async def test_a_product_that_a_count_creates_is_stored_with_its_first_batch(backend: Backend) -> None:
    for is_counted in (False, True):
        async with backend.begin() as uow:
            await uow.products.load(LockSet(skus={SKU}, skus_to_create={SKU}))
            assert uow.products.get(SKU) is None
            product = uow.products.get_or_create(SKU)
            await uow.products.fetch_on_hand(product)
            if is_counted:
                product.create_batch("batch-1", 4, None)
            await uow.commit()
        async with backend.begin() as uow:
            await uow.products.load(LockSet(skus={SKU}))
            assert (uow.products.get(SKU) is not None) == is_counted


async def test_a_named_line_brings_its_batch_although_that_is_sold_out(backend: Backend) -> None:
    await record(backend, "sold-out", 4, ("order-1", 4))

    async with backend.begin() as uow:
        product = await load(uow, "order-1")
        product.cancel("order-1")
        await uow.commit()

    async with backend.begin() as uow:
        product = await load(uow, "order-1")
        assert (product.batches.find("sold-out").allocated_qty, product.allocations) == (0, {})


async def test_a_cancelled_line_can_be_placed_again_in_the_same_unit_of_work(backend: Backend) -> None:
    await record(backend, "batch-1", 10, ("order-1", 4))

    async with backend.begin() as uow:
        product = await load(uow, "order-1")
        product.cancel("order-1")
        product.allocate(line("order-1", 11), "backorder")
        await uow.commit()

    async with backend.begin() as uow:
        allocation = (await load(uow, "order-1")).allocations["order-1"]
        assert (allocation.line.qty, allocation.batch, allocation.requested_sequence) == (11, None, 4)


async def test_fetches_the_lines_that_came_last_and_no_more_than_needed(backend: Backend) -> None:
    await record(backend, "batch-1", 20, *((f"order-{number}", 3) for number in range(1, 7)))

    async with backend.begin() as uow:
        product = await load(uow, refs=("batch-1",))
        await uow.products.fetch_last_allocated(product, product.batches.find("batch-1"), 7)

        assert set(product.allocations) == {"order-4", "order-5", "order-6"}
        assert all(held.batch is product.batches.find("batch-1") for held in product.allocations.values())


async def test_fetches_lines_that_came_within_this_unit_of_work_too(backend: Backend) -> None:
    await record(backend, "batch-1", 20, ("order-1", 3), ("order-2", 3))

    async with backend.begin() as uow:
        product = await load(uow, "order-2", refs=("batch-1",))
        product.cancel("order-2")
        latest, _ = product.allocate(line("order-3", 3), "backorder")
        await uow.products.fetch_last_allocated(product, product.batches.find("batch-1"), 6)

        assert set(product.allocations) == {"order-1", "order-3"}
        assert product.allocations["order-3"] is latest


async def test_fetches_the_queue_oldest_request_first_in_pages_of_what_fits(backend: Backend) -> None:
    sizes = (5, 2, 9, 2, 3)
    await record(backend, "batch-1", 1, *((f"order-{number}", qty) for number, qty in enumerate(sizes)))

    async with backend.begin() as uow:
        product = await load(uow)
        page = await uow.products.fetch_backorders(product, max_qty=5, after=(0, 0), limit=3)
        assert page == ["order-0", "order-1", "order-3"]
        after = product.allocations["order-3"].requested_sequence
        assert await uow.products.fetch_backorders(product, max_qty=5, after=(5, after), limit=3) == ["order-4"]
        assert "order-2" not in product.allocations


async def test_the_queue_is_as_this_unit_of_work_has_left_it(backend: Backend) -> None:
    await record(backend, "batch-1", 1, ("order-1", 5), ("order-2", 5))

    async with backend.begin() as uow:
        product = await load(uow, "order-1")
        product.cancel("order-1")
        product.allocate(line("order-3", 5), "backorder")
        product.create_batch("batch-2", 5, None)
        assert await uow.products.fetch_backorders(product, max_qty=5, after=(0, 0), limit=9) == ["order-2", "order-3"]

        product.serve_backorders(["order-2", "order-3"])
        assert await uow.products.fetch_backorders(product, max_qty=5, after=(0, 0), limit=9) == ["order-3"]
        await uow.commit()

    async with backend.begin() as uow:
        product = await load(uow, "order-1", "order-2", "order-3", refs=("batch-2",))
        assert set(product.allocations) == {"order-2", "order-3"}
        assert product.allocations["order-2"].batch is product.batches.find("batch-2")
        assert product.backordered_qty == 5


async def test_the_reorder_point_is_stored_and_can_be_removed(backend: Backend) -> None:
    await record(backend, "batch-1", 10)

    for qty, kept in ((5, 5), (0, None)):
        async with backend.begin() as uow:
            (await load(uow)).set_reorder_point(qty)
            await uow.commit()
        async with backend.begin() as uow:
            assert (await load(uow)).reorder_point == kept


async def test_the_availability_before_a_command_is_known_whatever_was_read(backend: Backend) -> None:
    await record(backend, "sold-out", 4, ("order-1", 4))
    await record(backend, "open", 6)
    async with backend.begin() as uow:
        (await load(uow)).set_reorder_point(5)
        assert uow.products.take_events() == []
        await uow.commit()

    async with backend.begin() as uow:
        product = await load(uow, refs=("sold-out",))
        await uow.products.fetch_last_allocated(product, product.batches.find("sold-out"), 4)
        product.allocate(line("order-2", 6), "reject")
        (*_, low) = uow.products.take_events()
        assert uow.products.get(SKU) is product
        product.change_quantity("sold-out", 5, None, None).run()
        (*_, back) = uow.products.take_events()
        await uow.commit()

    facts = {"reorder_point": 5, "backordered_qty": 0, "incoming_qty": 0}
    assert low == events.LowStock(sku=SKU, sequence=5, available_qty=0, **facts)
    assert back == events.BackInStock(sku=SKU, sequence=7, available_qty=1)
    async with backend.begin() as uow:
        assert (await load(uow)).sequence == 7


async def test_units_of_work_on_one_product_wait_for_each_other(backend: Backend) -> None:
    await record(backend, "batch-1", 5)

    async def take_one(order_id: str) -> bool:
        async with backend.begin() as uow:
            product = await load(uow, order_id)
            if not product.batches.largest_available_qty:
                return False
            product.allocate(line(order_id, 1), "reject")
            await uow.commit()
            return True

    taken = await asyncio.gather(*(take_one(f"order-{number}") for number in range(12)))

    assert sum(taken) == 5
