"""Order lines: commands in, outcomes and published messages out."""

import pytest

from app.domain.commands import Allocate, CancelAllocation, ChangeBatchQuantity, CreateBatch, ServeBackorders
from app.domain.errors import (
    AllocationConflictError,
    AllocationNotFoundError,
    InvalidSkuError,
    OutOfStockError,
)
from app.service_layer.results import AllocationState, LineAccepted
from tests.support.messages import CAUSE, Service

SKU = "COMPLICATED-LAMP"


@pytest.fixture
def service() -> Service:
    return Service()


async def test_allocates_and_publishes(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=100))
    service.heard()

    accepted = await service.send(Allocate(order_id="order-1", sku=SKU, qty=10))

    assert accepted == LineAccepted(
        AllocationState("order-1", SKU, 10, "allocated", "batch-1", None, None), changed=True
    )
    assert service.heard() == [
        ("line_allocated.v1", {"sku": SKU, "order_id": "order-1", "qty": 10, "batch_ref": "batch-1"})
    ]


async def test_hands_on_where_the_command_came_from(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=1))

    assert [cause for _, cause in service.store.tables.outbox] == [CAUSE]


async def test_the_same_line_again_answers_with_the_line_as_it_is_now(service: Service) -> None:
    await service.send(
        CreateBatch(ref="old", sku=SKU, qty=10),
        Allocate(order_id="order-1", sku=SKU, qty=10),
        ChangeBatchQuantity(ref="old", qty=5),
    )
    service.heard()

    again = await service.send(Allocate(order_id="order-1", sku=SKU, qty=10, if_unavailable="reject"))

    assert again == LineAccepted(AllocationState("order-1", SKU, 10, "backordered", None, None, None), changed=False)
    assert service.heard() == []


async def test_another_quantity_is_a_conflict_that_is_published(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=100), Allocate(order_id="order-1", sku=SKU, qty=10))
    service.heard()

    with pytest.raises(AllocationConflictError):
        await service.send(Allocate(order_id="order-1", sku=SKU, qty=11))

    assert service.heard() == [
        ("allocation_failed.v1", {"sku": SKU, "order_id": "order-1", "qty": 11, "reason": "conflict"})
    ]


async def test_an_unknown_sku_is_refused_and_published_without_a_sequence(service: Service) -> None:
    with pytest.raises(InvalidSkuError, match=r"^Invalid sku NONEXISTENT$"):
        await service.send(Allocate(order_id="order-1", sku="NONEXISTENT", qty=1))

    (message,) = service.store.published
    assert (message.type, message.subject, message.sequence) == ("allocation_failed.v1", "NONEXISTENT", None)
    assert service.heard()[0][1]["reason"] == "invalid_sku"
    assert service.store.tables.products == {}


async def test_an_unknown_sku_is_not_made_known_by_asking_for_it(service: Service) -> None:
    for _ in range(2):
        with pytest.raises(InvalidSkuError):
            await service.send(Allocate(order_id="order-1", sku=SKU, qty=1))


async def test_a_refused_line_is_published_as_out_of_stock_and_as_failed(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=9))
    service.heard()

    with pytest.raises(OutOfStockError):
        await service.send(Allocate(order_id="order-1", sku=SKU, qty=10, if_unavailable="reject"))

    line = {"sku": SKU, "order_id": "order-1", "qty": 10}
    assert service.heard() == [
        ("out_of_stock.v1", line),
        ("allocation_failed.v1", {**line, "reason": "out_of_stock"}),
    ]
    assert service.store.tables.lines == {}


async def test_a_backordered_line_is_published_as_out_of_stock_and_as_backordered(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=9))
    service.heard()

    accepted = await service.send(Allocate(order_id="order-1", sku=SKU, qty=10))

    assert accepted.allocation.status == "backordered"
    assert service.types_heard() == ["out_of_stock.v1", "line_backordered.v1"]


async def test_a_cancellation_serves_lines_that_no_command_names(service: Service) -> None:
    await service.send(
        CreateBatch(ref="batch-1", sku=SKU, qty=5),
        Allocate(order_id="leaving", sku=SKU, qty=5),
        Allocate(order_id="waiting", sku=SKU, qty=4),
    )
    service.heard()

    assert await service.send(CancelAllocation(order_id="leaving", sku=SKU)) is None

    assert service.heard() == [
        (
            "line_deallocated.v1",
            {"sku": SKU, "order_id": "leaving", "qty": 5, "batch_ref": "batch-1", "reason": "cancelled"},
        ),
        ("line_allocated.v1", {"sku": SKU, "order_id": "waiting", "qty": 4, "batch_ref": "batch-1"}),
        ("back_in_stock.v1", {"sku": SKU, "available_qty": 1}),
    ]


async def test_a_waiting_line_is_cancelled_with_no_batch_named(service: Service) -> None:
    await service.send(
        CreateBatch(ref="batch-1", sku=SKU, qty=1),
        Allocate(order_id="order-1", sku=SKU, qty=4),
    )
    service.heard()

    await service.send(CancelAllocation(order_id="order-1", sku=SKU))

    assert service.heard() == [
        ("line_deallocated.v1", {"sku": SKU, "order_id": "order-1", "qty": 4, "batch_ref": None, "reason": "cancelled"})
    ]


@pytest.mark.parametrize("sku", [SKU, "NEVER-HEARD-OF"])
async def test_what_was_never_accepted_cannot_be_cancelled(service: Service, sku: str) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=1))
    service.heard()

    with pytest.raises(AllocationNotFoundError):
        await service.send(CancelAllocation(order_id="order-1", sku=sku))

    assert service.heard() == []


async def test_one_order_may_have_a_line_of_each_sku(service: Service) -> None:
    await service.send(CreateBatch(ref="lamps", sku=SKU, qty=1), CreateBatch(ref="chairs", sku="CHAIR", qty=1))

    assert (await service.send(Allocate(order_id="order-1", sku=SKU, qty=1))).allocation.batch_ref == "lamps"
    assert (await service.send(Allocate(order_id="order-1", sku="CHAIR", qty=1))).allocation.batch_ref == "chairs"


async def test_commands_of_one_group_see_what_those_before_them_did(service: Service) -> None:
    accepted, refused, cancelled, taken = (
        await service.send_group(
            CreateBatch(ref="batch-1", sku=SKU, qty=3),
            Allocate(order_id="order-1", sku=SKU, qty=3),
            Allocate(order_id="order-2", sku=SKU, qty=3, if_unavailable="reject"),
            CancelAllocation(order_id="order-1", sku=SKU),
            Allocate(order_id="order-2", sku=SKU, qty=3, if_unavailable="reject"),
        )
    )[1:]

    assert (accepted.changed, refused, cancelled, taken.changed) == (True, "out-of-stock", None, True)
    assert [message.sequence for message in service.store.published] == [1, 2, 3, 4, 5, 6, 7]


async def test_an_answer_is_of_its_own_moment_whatever_the_group_does_later(service: Service) -> None:
    recorded, accepted, _ = await service.send_group(
        CreateBatch(ref="batch-1", sku=SKU, qty=3),
        Allocate(order_id="order-1", sku=SKU, qty=3),
        ChangeBatchQuantity(ref="batch-1", qty=0),
    )

    assert recorded.batch.available_qty == 3
    assert accepted.allocation.batch_ref == "batch-1"


async def test_a_line_queued_earlier_in_the_group_is_served_by_a_batch_later_in_it(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=1))

    _, recorded = await service.send_group(
        Allocate(order_id="order-1", sku=SKU, qty=3), CreateBatch(ref="batch-2", sku=SKU, qty=3)
    )

    assert recorded.batch.available_qty == 0


async def test_a_long_queue_is_served_page_by_page(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.service_layer.backorders.PAGE", 3)
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=1))
    await service.send(*(Allocate(order_id=f"order-{n}", sku=SKU, qty=2 if n % 2 else 30) for n in range(20)))
    service.heard()

    recorded = await service.send(CreateBatch(ref="batch-2", sku=SKU, qty=21))

    served = [f"order-{n}" for n in range(20) if n % 2]
    assert [message["order_id"] for kind, message in service.heard() if kind == "line_allocated.v1"] == served
    assert recorded.batch.available_qty == 1


async def test_a_queue_that_a_fault_has_left_is_served_on_demand(service: Service) -> None:
    await service.send(
        CreateBatch(ref="batch-1", sku=SKU, qty=1),
        Allocate(order_id="order-1", sku=SKU, qty=10),
        Allocate(order_id="order-2", sku=SKU, qty=4),
    )
    service.heard()
    service.store.tables.batches["batch-1"].qty = 5

    await service.send(ServeBackorders(sku=SKU), ServeBackorders(sku=SKU), ServeBackorders(sku="UNKNOWN"))

    assert service.heard() == [
        ("line_allocated.v1", {"sku": SKU, "order_id": "order-2", "qty": 4, "batch_ref": "batch-1"})
    ]
