"""Counts of batches: commands in, outcomes and published messages out."""

from datetime import date
from typing import Any

import pytest

from app.domain.commands import Allocate, ChangeBatch, CountBatch, CreateBatch, ShipLine
from app.domain.errors import BatchNotFoundError, BelowShippedError, QuantityChangedError, QuantityTooLargeError
from app.service_layer.results import BatchChanged, BatchState, LineMove
from tests.support.messages import Service

SKU = "SMALL-TABLE"
LARGEST = 2_147_483_647
TOMORROW = date(2030, 1, 2)


@pytest.fixture
def service() -> Service:
    return Service()


async def test_a_count_of_a_batch_adds_what_was_shipped(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=100))
    await service.ship("order-1", SKU, 30)
    service.heard()

    counted = await service.send(CountBatch(ref="batch-1", on_hand_qty=65, reason="recount", reference="list-3"))

    assert counted == BatchChanged(BatchState("batch-1", SKU, 95, None, 0, 30, 65, 0), [])
    batch = {"sku": SKU, "ref": "batch-1", "qty": 95, "eta": None, "reason": "recount", "reference": "list-3"}
    assert service.heard() == [("batch_quantity_changed.v1", batch)]


@pytest.mark.parametrize("shipped_first", [True, False])
async def test_a_count_and_a_shipment_commute(service: Service, *, shipped_first: bool) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=100), Allocate(order_id="order-1", sku=SKU, qty=30))
    count, shipment = CountBatch(ref="batch-1", on_hand_qty=65, shipped_qty=30), ShipLine(order_id="order-1", sku=SKU)

    await service.send(*((shipment, count) if shipped_first else (count, shipment)))

    batch = service.store.tables.batches["batch-1"]
    assert (batch.qty, batch.allocated_qty, batch.shipped_qty) == (95, 0, 30)


@pytest.mark.parametrize("more", [{}, {"shipped_qty": 30}])
async def test_the_same_count_of_a_batch_again_changes_nothing(service: Service, more: dict[str, Any]) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=100))
    await service.ship("order-1", SKU, 30)
    count = CountBatch(ref="batch-1", on_hand_qty=65, **more)
    first = await service.send(count)
    service.heard()

    assert await service.send(count) == first
    assert service.heard() == []


async def test_a_count_of_a_batch_moves_lines_that_no_longer_fit(service: Service) -> None:
    await service.send(
        CreateBatch(ref="batch-1", sku=SKU, qty=10),
        CreateBatch(ref="batch-2", sku=SKU, qty=10, eta=TOMORROW),
        Allocate(order_id="order-1", sku=SKU, qty=4),
        Allocate(order_id="order-2", sku=SKU, qty=4),
    )

    counted = await service.send(CountBatch(ref="batch-1", on_hand_qty=5))

    assert counted.moved == [LineMove("order-2", SKU, 4, "batch-1", "batch-2")]


async def test_a_count_goes_with_an_eta_and_an_expected_quantity(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=10, eta=TOMORROW))
    count = ChangeBatch(ref="batch-1", on_hand_qty=8, eta=None, expected_qty=10)

    for _ in range(2):
        changed = await service.send(count)
        assert (changed.batch.qty, changed.batch.eta) == (8, None)
    with pytest.raises(QuantityChangedError):
        await service.send(ChangeBatch(ref="batch-1", on_hand_qty=7, expected_qty=10))


@pytest.mark.parametrize("command", [CountBatch, ChangeBatch])
async def test_an_impossible_count_of_a_batch_is_refused(service: Service, command: type[Any]) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=10))
    await service.ship("order-1", SKU, 3)
    service.heard()
    before = service.store.tables

    with pytest.raises(BelowShippedError):
        await service.send(command(ref="batch-1", on_hand_qty=1, shipped_qty=1))
    for largest in ({"on_hand_qty": LARGEST - 2}, {"on_hand_qty": 1, "shipped_qty": LARGEST}):
        with pytest.raises(QuantityTooLargeError, match="2147483648"):
            await service.send(command(ref="batch-1", **largest))
    with pytest.raises(BatchNotFoundError):
        await service.send(command(ref="nowhere", on_hand_qty=1))

    assert service.store.tables == before
    assert service.heard() == []
