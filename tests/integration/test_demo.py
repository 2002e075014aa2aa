"""The shop of `allocation dev --demo` has something for each part of the board."""

from app.bootstrap import bootstrap
from app.operations.demo import PRODUCTS, DemoShop
from app.settings import Settings


async def test_the_shop_has_something_that_needs_action(settings: Settings) -> None:
    async with bootstrap(settings) as service, service.bus:
        shop = DemoShop(service.bus.handle)
        assert len(set(shop.skus)) == PRODUCTS
        await shop.fill()
        found = await service.queries.overview()
        batches = await service.queries.lists.batches(limit=1, cursor=None)
        counts = (found.low_stock, found.sold_out, found.late_batches, found.held_lines, found.allocations_today)
        assert all(count.count >= 5 for count in counts), found
        assert found.backorders.under_1_day.count >= 5

        # A later start adds orders and no stock.
        await DemoShop(service.bus.handle).fill()
        assert (await service.queries.lists.batches(limit=1, cursor=None)).count == batches.count
