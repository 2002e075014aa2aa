"""Counts of products: commands in, outcomes and published messages out."""

from datetime import date

import pytest

from app.domain.commands import Allocate, CountProduct, CountProductIfMatch, CreateBatch
from app.domain.errors import OnHandChangedError, PreconditionFailedError, ProductNotFoundError
from app.service_layer.results import LineMove, ProductCounted, StockState
from tests.support.messages import Service

SKU = "SMALL-TABLE"
LARGEST = 2_147_483_647
TOMORROW = date(2030, 1, 2)


@pytest.fixture
def service() -> Service:
    return Service()


def changes(service: Service) -> list[tuple[str, str, int]]:
    """The batch events since the last call: type, ref and quantity."""
    return [(kind, data["ref"], data["qty"]) for kind, data in service.heard() if kind.startswith("batch_")]


async def test_missing_pieces_are_added_to_the_batch_recorded_last_in_the_warehouse(service: Service) -> None:
    await service.send(
        CreateBatch(ref="batch-1", sku=SKU, qty=10),
        CreateBatch(ref="batch-2", sku=SKU, qty=10),
        CreateBatch(ref="batch-3", sku=SKU, qty=10, eta=TOMORROW),
        Allocate(order_id="order-1", sku=SKU, qty=4),
        Allocate(order_id="order-2", sku=SKU, qty=12),
    )
    service.heard()

    counted = await service.send(CountProduct(sku=SKU, on_hand_qty=25, reason="found", reference="list-3"))

    assert counted == ProductCounted(StockState(SKU, None, 19, 0, 10, 0), 25, [])
    batch = {"sku": SKU, "ref": "batch-2", "qty": 15, "eta": None, "reason": "found", "reference": "list-3"}
    assert service.heard() == [
        ("batch_quantity_changed.v1", batch),
        ("line_allocated.v1", {"sku": SKU, "order_id": "order-2", "qty": 12, "batch_ref": "batch-2"}),
    ]


async def test_a_batch_that_was_shipped_completely_is_in_the_warehouse(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=10), CreateBatch(ref="batch-2", sku=SKU, qty=3))
    await service.ship("order-1", SKU, 10)
    await service.ship("order-2", SKU, 3)
    service.heard()

    assert (await service.send(CountProduct(sku=SKU, on_hand_qty=5))).on_hand_qty == 5
    assert changes(service) == [("batch_quantity_changed.v1", "batch-2", 8)]


@pytest.mark.parametrize("known", [True, False])
async def test_without_a_batch_in_the_warehouse_a_new_one_is_recorded(service: Service, *, known: bool) -> None:
    if known:
        await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=10, eta=TOMORROW))
    service.heard()

    counted = await service.send(CountProduct(sku=SKU, on_hand_qty=5))

    assert (counted.on_hand_qty, counted.stock.available_qty) == (5, 15 if known else 5)
    ((kind, ref, qty),) = changes(service)
    assert (kind, qty) == ("batch_created.v1", 5)
    assert (await service.send(CreateBatch(ref=ref, sku=SKU, qty=5))).created is False


async def test_a_batch_that_cannot_hold_the_missing_pieces_gets_no_part_of_them(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=LARGEST))
    await service.ship("order-1", SKU, LARGEST)
    service.heard()

    assert (await service.send(CountProduct(sku=SKU, on_hand_qty=5))).on_hand_qty == 5
    assert [(kind, qty) for kind, _, qty in changes(service)] == [("batch_created.v1", 5)]


async def test_surplus_pieces_are_removed_from_available_stock_first(service: Service) -> None:
    await service.send(
        CreateBatch(ref="batch-1", sku=SKU, qty=10),
        CreateBatch(ref="batch-2", sku=SKU, qty=10),
        CreateBatch(ref="batch-3", sku=SKU, qty=10),
        Allocate(order_id="order-1", sku=SKU, qty=7),
        Allocate(order_id="order-2", sku=SKU, qty=8),
    )
    service.heard()

    counted = await service.send(CountProduct(sku=SKU, on_hand_qty=16))

    assert (counted.on_hand_qty, counted.moved) == (16, [])
    assert sorted(changes(service)) == [
        ("batch_quantity_changed.v1", "batch-1", 8),
        ("batch_quantity_changed.v1", "batch-2", 8),
        ("batch_quantity_changed.v1", "batch-3", 0),
    ]


async def test_then_lines_of_the_batches_recorded_last_move_each_once(service: Service) -> None:
    await service.send(
        CreateBatch(ref="batch-1", sku=SKU, qty=10),
        CreateBatch(ref="batch-2", sku=SKU, qty=10),
        CreateBatch(ref="incoming", sku=SKU, qty=3, eta=TOMORROW),
        Allocate(order_id="order-1", sku=SKU, qty=6),
        Allocate(order_id="order-2", sku=SKU, qty=4),
        Allocate(order_id="order-3", sku=SKU, qty=7),
        Allocate(order_id="order-4", sku=SKU, qty=3),
    )
    service.heard()

    counted = await service.send(CountProduct(sku=SKU, on_hand_qty=9))

    assert counted.moved == [
        LineMove("order-2", SKU, 4, "batch-1", None),
        LineMove("order-3", SKU, 7, "batch-2", None),
        LineMove("order-4", SKU, 3, "batch-2", "batch-1"),
    ]
    assert (counted.on_hand_qty, counted.stock.backordered_qty) == (9, 11)
    assert [(kind, data.get("ref") or data["order_id"]) for kind, data in service.heard()] == [
        ("batch_quantity_changed.v1", "batch-2"),
        ("batch_quantity_changed.v1", "batch-1"),
        ("line_deallocated.v1", "order-4"),
        ("line_deallocated.v1", "order-3"),
        ("line_deallocated.v1", "order-2"),
        ("out_of_stock.v1", "order-2"),
        ("line_backordered.v1", "order-2"),
        ("out_of_stock.v1", "order-3"),
        ("line_backordered.v1", "order-3"),
        ("line_allocated.v1", "order-4"),
    ]


async def test_a_count_ends_holds_before_it_moves_lines(service: Service) -> None:
    await service.send(
        CreateBatch(ref="batch-1", sku=SKU, qty=10),
        CreateBatch(ref="incoming", sku=SKU, qty=3, eta=TOMORROW),
        Allocate(order_id="hold-1", sku=SKU, qty=3, hold_for=900),
        Allocate(order_id="hold-2", sku=SKU, qty=3, hold_for=900),
        Allocate(order_id="order-1", sku=SKU, qty=4),
    )
    service.heard()

    counted = await service.send(CountProduct(sku=SKU, on_hand_qty=4))

    assert counted.moved == [LineMove("hold-1", SKU, 3, "batch-1", "incoming")]
    assert (counted.on_hand_qty, counted.stock.available_qty, counted.stock.held_qty) == (4, 0, 3)
    assert [(kind, data.get("order_id", data.get("ref"))) for kind, data in service.heard()] == [
        ("batch_quantity_changed.v1", "batch-1"),
        ("line_held.v1", "hold-1"),
        ("hold_released.v1", "hold-2"),
    ]


async def test_the_same_count_of_a_product_again_changes_nothing(service: Service) -> None:
    await service.send(
        CreateBatch(ref="batch-1", sku=SKU, qty=10),
        Allocate(order_id="order-1", sku=SKU, qty=6),
        Allocate(order_id="order-2", sku=SKU, qty=4),
    )
    for qty in (20, 7, 0, 3):
        counted = await service.send(CountProduct(sku=SKU, on_hand_qty=qty))
        assert counted.on_hand_qty == qty
        service.heard()

        assert await service.send(CountProduct(sku=SKU, on_hand_qty=qty)) == ProductCounted(counted.stock, qty, [])
        assert service.heard() == []


async def test_a_count_that_expects_another_quantity_is_refused_with_the_present_one(service: Service) -> None:
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=10))
    service.heard()
    for sku, present in ((SKU, 10), ("NEW-TABLE", 0)):
        with pytest.raises(OnHandChangedError) as refused:
            await service.send(CountProduct(sku=sku, on_hand_qty=5, expected_on_hand_qty=9))
        assert refused.value.details == {"present_qty": present}
    assert service.heard() == []
    assert list(service.store.tables.products) == [SKU]

    for _ in range(2):
        counted = await service.send(CountProduct(sku=SKU, on_hand_qty=5, expected_on_hand_qty=10))
        assert counted.on_hand_qty == 5


async def test_nothing_counted_of_an_unknown_product_creates_nothing(service: Service) -> None:
    with pytest.raises(ProductNotFoundError):
        await service.send(CountProduct(sku=SKU, on_hand_qty=0))

    assert service.store.tables.products == {}


async def test_a_group_counts_a_new_product_once(service: Service) -> None:
    refused, first, again = await service.send_group(
        CountProduct(sku=SKU, on_hand_qty=0), CountProduct(sku=SKU, on_hand_qty=4), CountProduct(sku=SKU, on_hand_qty=4)
    )

    assert (refused, first, again) == ("product-not-found", first, first)
    assert [(kind, qty) for kind, _, qty in changes(service)] == [("batch_created.v1", 4)]


async def test_a_count_with_a_tag_needs_the_product_as_it_was_seen(service: Service) -> None:
    with pytest.raises(PreconditionFailedError):
        await service.send(CountProductIfMatch(sku=SKU, on_hand_qty=4, if_match=frozenset({"*"})))
    counted = await service.send(CountProduct(sku=SKU, on_hand_qty=4))
    seen = CountProductIfMatch(sku=SKU, on_hand_qty=3, if_match=frozenset({counted.stock.tag}))

    assert (await service.send(seen)).on_hand_qty == 3
    with pytest.raises(PreconditionFailedError):
        await service.send(seen)
