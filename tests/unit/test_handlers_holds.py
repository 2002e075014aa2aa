"""Holds: commands in, outcomes and published messages out."""

from datetime import date, timedelta

import pytest

from app.domain.commands import Allocate, CancelAllocation, ChangeBatchEta, CreateBatch
from app.domain.errors import NotHeldError, OrderConflictError, OrderNotFoundError, OutOfStockError
from tests.support.holds import NOON, hold, order
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


async def test_an_order_is_held_whole_or_not_at_all_and_shows_no_order_event(service: Service) -> None:
    with pytest.raises(OutOfStockError):
        await service.send(order("order-1", ("CHAIR", 1), ("TABLE", 11), hold_for=60))
    assert service.heard() == [
        ("allocation_failed.v1", {"order_id": "order-1", "sku": "TABLE", "qty": 11, "reason": "out_of_stock"})
    ]
    await service.send(order("order-1", ("CHAIR", 1), ("TABLE", 2), hold_for=60))
    assert service.types_heard() == ["line_held.v1", "line_held.v1"]
    await service.send(order("order-1", ("CHAIR", 1), ("TABLE", 2)))
    assert sorted(service.types_heard()) == ["line_allocated.v1", "line_allocated.v1", "order_placed.v1"]


async def test_a_late_payment_places_the_lines_that_have_expired_as_new_ones(service: Service) -> None:
    await service.send(order("order-1", ("CHAIR", 6), ("TABLE", 6), hold_for=60))
    await service.send(Allocate(order_id="order-1", sku="CHAIR", qty=6))
    service.store.now = NOON + timedelta(seconds=60)
    await service.send(Allocate(order_id="order-2", sku="TABLE", qty=6))

    with pytest.raises(OutOfStockError):
        await service.send(order("order-1", ("CHAIR", 6), ("TABLE", 6), if_unavailable="reject"))
    assert statuses(service) == [("CHAIR", 6, False)]

    accepted = await service.send(order("order-1", ("CHAIR", 6), ("TABLE", 6)))
    assert accepted.changed
    assert [(line.sku, line.status) for line in accepted.order.lines] == [
        ("CHAIR", "allocated"),
        ("TABLE", "backordered"),
    ]


async def test_a_refused_replacement_leaves_the_old_hold(service: Service) -> None:
    await service.send(order("order-1", ("CHAIR", 6), hold_for=60))
    service.heard()
    with pytest.raises(OutOfStockError):
        await service.send(hold("order-1", 900, ("CHAIR", 10), ("TABLE", 11)))
    assert statuses(service) == [("CHAIR", 6, True)]
    assert service.types_heard() == ["allocation_failed.v1"]

    state = await service.send(hold("order-1", 900, ("TABLE", 10)))
    assert [(line.sku, line.held_until) for line in state.lines] == [("TABLE", NOON + timedelta(seconds=900))]
    assert sorted(service.types_heard()) == ["hold_released.v1", "line_held.v1"]


async def test_a_firm_order_is_not_held_and_an_expired_one_is_not_found(service: Service) -> None:
    await service.send(order("order-1", ("CHAIR", 1)))
    with pytest.raises(NotHeldError):
        await service.send(hold("order-1", 60))
    await service.send(order("order-2", ("CHAIR", 1), hold_for=60))
    service.store.now = NOON + timedelta(seconds=60)
    with pytest.raises(OrderNotFoundError):
        await service.send(hold("order-2", 60))
    assert (await service.send(hold("order-2", 60, ("CHAIR", 2)))).lines[0].status == "held"
