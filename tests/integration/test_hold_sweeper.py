"""The sweeper beside products that other sessions have locked."""

import pytest

from app.bootstrap import Service
from app.domain.commands import Allocate, CreateBatch
from app.operations import hold_sweeper
from app.operations.hold_sweeper import HoldSweeper
from tests.support.cells import in_one_cell
from tests.support.database import raw_connection, results

SKUS = in_one_cell("SKU", 5)


@pytest.fixture
async def overdue(service: Service) -> Service:
    """The service with a hold of each SKU that is over, the first one for the longest time."""
    for number, sku in enumerate(SKUS):
        await results(service.bus, CreateBatch(ref=f"batch-{sku}", sku=sku, qty=5))
        await results(service.bus, Allocate(order_id="order-1", sku=sku, qty=5, hold_for=600))
        async with service.engine.begin() as connection:
            for table, column in (("order_lines", "held_until"), ("products", "earliest_hold_end")):
                end = f"statement_timestamp() - interval '{100 - number} ms'"
                await connection.exec_driver_sql(f"UPDATE {table} SET {column} = {end} WHERE sku = '{sku}'")
    return service


async def held(service: Service) -> list[str]:
    """The SKUs that have held pieces."""
    return [sku for sku in SKUS if (await service.queries.product(sku)).held_qty]


async def test_locked_products_do_not_keep_others_from_being_swept(
    overdue: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold_sweeper, "PRODUCTS", 2)
    monkeypatch.setattr(hold_sweeper, "LATE", 3600.0)
    sweeper = HoldSweeper(overdue)
    url = overdue.settings.database_url.get_secret_value()
    async with raw_connection(url, cell_of=SKUS[0]) as other, other.transaction():
        await other.execute("SELECT FROM products WHERE sku = ANY($1) FOR NO KEY UPDATE", SKUS[:2])

        # Otherwise it would look again at once, for as long as the products are locked.
        assert await sweeper.sweep()
        assert await held(overdue) == SKUS[:2]

    assert await sweeper.sweep()
    assert await held(overdue) == []


async def test_a_product_with_wrong_sums_is_left_out_for_a_while(
    overdue: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async with overdue.engine.begin() as connection:
        await connection.exec_driver_sql(f"UPDATE batches SET held_qty = 0 WHERE sku = '{SKUS[0]}'")
    sweeper = HoldSweeper(overdue)

    await sweeper.sweep()
    first = caplog.text.count("ExpireHolds failed")
    await sweeper.sweep()

    assert (first, caplog.text.count("ExpireHolds failed")) == (1, 1)
    assert (await overdue.queries.product(SKUS[1])).held_qty == 0
