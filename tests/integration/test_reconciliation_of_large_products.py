"""Products too large for one statement are counted in pieces; a failure affects one product only."""

import time
from collections.abc import Sequence

import pytest
from prometheus_client import REGISTRY

from app.adapters.postgresql import reconciliation_in_pieces
from app.adapters.postgresql.counted_sums import CountedProduct
from app.adapters.postgresql.reconciliation import ReconciliationStore
from app.bootstrap import Service
from app.domain.commands import Allocate, CreateBatch, ShipLine
from app.observability import metrics
from app.operations import product_reconciliation, reconciliation
from app.operations.reconciliation import Difference, Reconciliation
from app.service_layer.ports import TemporarilyUnavailableError
from tests.support.database import results
from tests.support.reconciling import sql

SKUS = [f"SKU-{number}" for number in range(5)]
DAMAGE = """
    UPDATE batches SET allocated_qty = allocated_qty + 1 WHERE ref = 'SKU-1-1';
    UPDATE batches SET shipped_qty = shipped_qty - 1 WHERE ref = 'SKU-1-0';
    UPDATE products SET backordered_qty = 1 WHERE sku IN ('SKU-1', 'SKU-2');
    UPDATE batches SET qty = qty + 50 WHERE ref = 'SKU-3-0';
    DELETE FROM events WHERE subject = 'SKU-3' AND sequence IN (2, 5, 6);
    UPDATE products SET sequence = sequence - 4 WHERE sku = 'SKU-4';
    DELETE FROM events WHERE subject = 'SKU-2' AND sequence < 4;
    DELETE FROM events WHERE subject = 'SKU-0';
    UPDATE batches SET held_qty = held_qty - 1 WHERE ref = 'SKU-1-0';
    UPDATE batches SET held_qty = held_qty + 1 WHERE ref = 'SKU-1-1';
    UPDATE products SET held_qty = 0 WHERE sku = 'SKU-2';
    UPDATE products SET earliest_hold_end = NULL WHERE sku IN ('SKU-2', 'SKU-3');
"""


@pytest.fixture
async def stocked(service: Service) -> Service:
    """Five products of three batches and fifteen lines each; some are shipped, some held, some wait."""
    for sku in SKUS:
        await results(service.bus, *(CreateBatch(ref=f"{sku}-{n}", sku=sku, qty=10) for n in range(3)))
        await results(service.bus, *(Allocate(order_id=f"order-{n}", sku=sku, qty=4) for n in range(12)))
        await results(service.bus, *(Allocate(order_id=f"cart-{n}", sku=sku, qty=1, hold_for=600) for n in range(3)))
        await results(service.bus, *(ShipLine(order_id=f"order-{n}", sku=sku) for n in (0, 3)))
    return service


@pytest.fixture
def _too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """No statement over several rows of the products ends in time, and a piece is three rows."""

    async def cancelled(_: ReconciliationStore, after: str, limit: int) -> Sequence[CountedProduct]:
        raise TemporarilyUnavailableError("canceling statement due to statement timeout", timed_out=True)

    monkeypatch.setattr(ReconciliationStore, "products", cancelled)
    monkeypatch.setattr(reconciliation_in_pieces, "PIECE", 3)


async def found(service: Service, *, repair: bool = False) -> list[Difference]:
    return [difference async for difference in Reconciliation(service, repair=repair, page_size=2).differences()]


def last_complete() -> float | None:
    return REGISTRY.get_sample_value("allocation_reconcile_last_complete_timestamp_seconds")


async def test_counting_in_pieces_gives_the_result_of_one_statement(
    stocked: Service, request: pytest.FixtureRequest
) -> None:
    await sql(stocked, DAMAGE)
    at_once = await found(stocked)
    assert {difference.sku for difference in at_once} == {"SKU-1", "SKU-2", "SKU-3", "SKU-4"}
    assert len({difference.kind for difference in at_once}) == 6

    request.getfixturevalue("_too_large")

    assert await found(stocked) == at_once
    assert {difference.sku for difference in await found(stocked, repair=True) if difference.repaired} == {
        "SKU-1",
        "SKU-2",
        "SKU-3",
    }


async def test_a_product_that_cannot_be_compared_does_not_affect_later_ones(
    stocked: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    await sql(stocked, DAMAGE)
    whole = await found(stocked)
    request.getfixturevalue("_too_large")
    count = reconciliation_in_pieces.count_in_pieces

    async def fails(engine: object, sku: str) -> object:
        if sku == "SKU-2":
            raise TemporarilyUnavailableError("canceling statement due to statement timeout", timed_out=True)
        return await count(engine, sku)  # type: ignore[arg-type]

    monkeypatch.setattr(product_reconciliation, "count_in_pieces", fails)
    metrics.reconcile_last_complete.set(0)

    assert await found(stocked) == [difference for difference in whole if difference.sku != "SKU-2"]
    assert "the product SKU-2 could not be compared" in caplog.text
    await reconciliation.check(stocked)
    assert last_complete() == 0, "not all was compared"

    monkeypatch.setattr(product_reconciliation, "count_in_pieces", count)
    await reconciliation.check(stocked)
    assert last_complete() == pytest.approx(time.time(), abs=60)


async def test_an_error_of_one_product_is_skipped_and_a_lost_database_is_not(
    stocked: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sql(stocked, DAMAGE)
    whole = await found(stocked)
    faults: list[Exception] = [
        TemporarilyUnavailableError("too long", timed_out=True),
        TemporarilyUnavailableError("going down"),
    ]

    async def fails(*_: object) -> object:
        raise faults[0]

    monkeypatch.setattr(ReconciliationStore, "wrong_batches", fails)
    walk = Reconciliation(stocked, page_size=2)
    assert [difference async for difference in walk.differences()] == [
        difference for difference in whole if difference.sku != "SKU-1"
    ]
    assert walk.unchecked == 1

    faults.pop(0)
    with pytest.raises(TemporarilyUnavailableError, match="going down"):
        await found(stocked)
