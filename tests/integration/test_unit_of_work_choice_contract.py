"""The contract of the unit of work for batches that nothing is allocated from, kept by PostgreSQL and by the fake."""

from datetime import date

from app.domain.stock import BatchTerms
from app.service_layer.lock_sets import LockSet
from tests.support.backends import SKU, Backend, load


async def test_a_count_reads_free_pieces_that_nothing_is_allocated_from(backend: Backend) -> None:
    async with backend.begin() as uow:
        await uow.products.load(LockSet(skus={SKU}, skus_to_create={SKU}))
        product = uow.products.get_or_create(SKU)
        product.create_batch("plain", 5, None)
        product.create_batch("blocked", 6, None, BatchTerms(is_blocked=True))
        product.create_batch("old", 7, None, BatchTerms(best_before=date(2020, 1, 1)))
        product.create_batch("blocked-and-late", 8, date(2030, 1, 1), BatchTerms(is_blocked=True))
        product.create_batch("last", 9, None)
        await uow.commit()

    async with backend.begin() as uow:
        product = await load(uow)
        assert set(product.batches) == {"plain", "last"}
        await uow.products.fetch_on_hand(product)
        assert set(product.batches) == {"plain", "blocked", "old", "last"}
        assert [product.batches[ref].available_qty for ref in ("blocked", "old")] == [0, 0]


async def test_a_count_reads_the_batch_recorded_last_in_a_location_also_if_it_is_empty(backend: Backend) -> None:
    async with backend.begin() as uow:
        await uow.products.load(LockSet(skus={SKU}, skus_to_create={SKU}))
        product = uow.products.get_or_create(SKU)
        for ref in ("first", "last-in-main", "moved"):
            product.create_batch(ref, 5, None)
        product.create_batch("elsewhere", 5, None, BatchTerms(location="north"))
        product.change_quantity("last-in-main", 0, None, None)
        await uow.commit()

    async with backend.begin() as uow:
        product = await load(uow, refs=("moved",))
        product.change_terms("moved", BatchTerms(location="north"))
        await uow.products.fetch_last_in(product, "main")
        assert set(product.batches) == {"first", "last-in-main", "moved", "elsewhere"}
        assert product.batches.find("moved").location == "north"
