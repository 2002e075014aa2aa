"""Holds: commands in, outcomes and published messages out."""

from datetime import date

import pytest

from app.domain.commands import Allocate, CancelAllocation, ChangeBatchEta, CreateBatch
from app.domain.errors import OrderConflictError
from tests.support.holds import NOON, order
from tests.support.messages import Service

STOCK = (CreateBatch(ref="chairs", sku="CHAIR", qty=10), CreateBatch(ref="tables", sku="TABLE", qty=10))


@pytest.fixture
async def service() -> Service:
    service = Service()
    service.store.now = NOON
    await service.send(*STOCK)
    service.heard()
    return service


def statuses(service: Service, order_id: str = "order-1") -> list[tuple[str, int, bool]]:
    """SKU, pieces, and whether the line is held."""
    rows = sorted(service.store.tables.lines.items(), key=lambda item: item[0][1])
    return [(sku, row.qty, row.held_until is not None) for (name, sku), row in rows if name == order_id]


async def test_a_confirmation_is_refused_whole_where_a_line_was_placed_again_with_another_quantity(
    service: Service,
) -> None:
    await service.send(order("order-1", ("CHAIR", 2), ("TABLE", 2), hold_for=60))
    await service.send(CancelAllocation(order_id="order-1", sku="TABLE"))
    await service.send(Allocate(order_id="order-1", sku="TABLE", qty=3))
    service.heard()

    with pytest.raises(OrderConflictError):
        await service.send(order("order-1", ("CHAIR", 2), ("TABLE", 2)))

    assert statuses(service) == [("CHAIR", 2, True), ("TABLE", 3, False)]
    assert service.types_heard() == ["order_refused.v1"]


async def test_a_late_batch_gives_its_holds_to_batches_that_arrive_sooner(service: Service) -> None:
    await service.send(CreateBatch(ref="late", sku="CHAIR", qty=10))
    await service.send(Allocate(order_id="before", sku="CHAIR", qty=10))
    await service.send(Allocate(order_id="order-1", sku="CHAIR", qty=10, hold_for=60))
    await service.send(CancelAllocation(order_id="before", sku="CHAIR"))

    changed = await service.send(ChangeBatchEta(ref="late", eta=date(2030, 1, 1), reallocate=True))

    assert [(move.order_id, move.to_batch_ref) for move in changed.moved] == [("order-1", "chairs")]
    assert statuses(service) == [("CHAIR", 10, True)]
