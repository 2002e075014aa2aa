"""LowStock and BackInStock are raised once each time that availability crosses the level."""

from datetime import date

import pytest

from app.domain import events
from app.domain.commands import Allocate, CancelAllocation, ChangeBatchQuantity, CreateBatch, SetReorderPoint
from app.domain.errors import DomainError, OutOfStockError, ProductNotFoundError
from app.service_layer.results import StockState
from tests.support.messages import Service
from tests.support.products import SKU, Shop

TOMORROW = date(2030, 1, 2)


def crossings(shop: Shop) -> list[str]:
    """The events of stock levels since the last call."""
    return [line.split(" ", 1)[1] for line in shop.story() if "LowStock" in line or "BackInStock" in line]


def watched_shop(stock: int = 10, reorder_point: int = 5) -> Shop:
    shop = Shop()
    shop.batch("batch-1", stock)
    shop.watch(reorder_point)
    shop.forget_story()
    return shop


def test_low_stock_follows_the_line_that_takes_stock_below_the_reorder_point() -> None:
    shop = watched_shop()
    shop.order("first", 5)
    assert crossings(shop) == []

    shop.order("second", 1)

    assert shop.story() == ["3 LineAllocated second: 1 from batch-1", "4 LowStock: 4"]


def test_low_stock_has_the_incoming_and_the_backordered_quantity() -> None:
    shop = Shop()
    shop.batch("batch-1", 4)
    shop.batch("on-its-way", 6, TOMORROW)
    shop.order("waiting", 7)
    shop.watch(8)
    assert crossings(shop) == []

    shop.order("order-1", 3)

    assert shop.product.take_events()[-1] == events.LowStock(
        sku=SKU, sequence=6, available_qty=7, reorder_point=8, backordered_qty=7, incoming_qty=6
    )


def test_low_stock_is_raised_once_until_there_was_enough_in_between() -> None:
    shop = watched_shop()
    shop.order("first", 6)
    assert crossings(shop) == ["LowStock: 4"]

    shop.order("second", 1)
    shop.ship("second")
    shop.batch("too-small", 1)
    assert crossings(shop) == []

    shop.batch("enough", 1)
    assert crossings(shop) == []
    shop.order("third", 1)
    assert crossings(shop) == ["LowStock: 4"]


def test_shipping_takes_nothing_that_was_available() -> None:
    shop = watched_shop()
    shop.order("order-1", 5)
    shop.ship("order-1")

    assert crossings(shop) == []


def test_damage_makes_stock_low_too() -> None:
    shop = watched_shop()

    shop.cut("batch-1", 4)

    assert crossings(shop) == ["LowStock: 4"]


def test_stock_that_is_cancelled_and_taken_by_the_queue_raises_no_level_event() -> None:
    shop = watched_shop(stock=6, reorder_point=1)
    shop.order("leaving", 6)
    shop.order("waiting", 6)
    assert crossings(shop) == ["LowStock: 0"]

    shop.cancel("leaving")

    assert shop.where("waiting") == "batch-1"
    assert crossings(shop) == []


def test_a_refusal_raises_no_level_event() -> None:
    shop = watched_shop()
    with pytest.raises(OutOfStockError):
        shop.order("too-large", 11, "reject")
    shop.order("order-1", 6)
    shop.forget_story()
    with pytest.raises(DomainError):
        shop.cancel("unknown")

    assert crossings(shop) == []


def test_a_reorder_point_above_the_available_quantity_raises_low_stock_at_once() -> None:
    shop = watched_shop(stock=10, reorder_point=10)

    shop.watch(11)
    assert shop.story() == ["2 LowStock: 10"]
    shop.watch(11)
    shop.watch(12)
    assert shop.story() == []
    shop.watch(10)
    assert shop.story() == []
    shop.watch(11)
    assert shop.story() == ["3 LowStock: 10"]


def test_low_stock_is_raised_again_after_the_reorder_point_was_removed() -> None:
    shop = watched_shop()
    shop.order("first", 6)
    shop.forget_story()

    shop.watch(0)
    shop.order("second", 1)
    assert crossings(shop) == []

    shop.watch(5)
    assert crossings(shop) == ["LowStock: 3"]


@pytest.mark.parametrize("change", ["a batch", "a cancellation", "a larger quantity"])
def test_what_had_run_out_and_is_there_again_is_back(change: str) -> None:
    shop = Shop()
    shop.batch("batch-1", 10)
    shop.order("order-1", 10)
    shop.forget_story()

    match change:
        case "a batch":
            shop.batch("batch-2", 10)
        case "a cancellation":
            shop.cancel("order-1")
        case _:
            shop.cut("batch-1", 20)

    assert crossings(shop) == ["BackInStock: 10"]
    shop.batch("batch-3", 5)
    assert crossings(shop) == []


def test_the_first_batch_of_a_sku_is_not_back() -> None:
    shop = Shop()

    shop.batch("batch-1", 10)

    assert shop.story() == ["1 BatchCreated batch-1: 10, warehouse"]


def test_what_the_queue_takes_at_once_is_not_back() -> None:
    shop = Shop()
    shop.batch("batch-1", 1)
    shop.order("order-1", 1)
    shop.order("waiting", 5)
    shop.forget_story()

    shop.batch("batch-2", 5)

    assert crossings(shop) == []


def test_back_but_not_enough_is_still_low() -> None:
    shop = watched_shop()
    shop.order("order-1", 10)
    assert crossings(shop) == ["LowStock: 0"]

    shop.batch("batch-2", 4)
    assert crossings(shop) == ["BackInStock: 4"]
    shop.batch("batch-3", 6)
    assert crossings(shop) == []
    shop.order("order-2", 6)
    assert crossings(shop) == ["LowStock: 4"]


async def test_what_was_there_before_is_read_with_the_product() -> None:
    service = Service()
    await service.send(CreateBatch(ref="batch-1", sku=SKU, qty=10))

    stock = await service.send(SetReorderPoint(sku=SKU, qty=5))
    await service.send(Allocate(order_id="order-1", sku=SKU, qty=6))
    await service.send(Allocate(order_id="order-2", sku=SKU, qty=4), CancelAllocation(order_id="order-2", sku=SKU))
    # batch-1 has run out, and only the second of these commands names it.
    await service.send(CreateBatch(ref="batch-2", sku=SKU, qty=1), ChangeBatchQuantity(ref="batch-1", qty=11))

    assert stock == StockState(SKU, reorder_point=5, available_qty=10, backordered_qty=0, incoming_qty=0, held_qty=0)
    assert [kind for kind, data in service.heard() if "available_qty" in data] == ["low_stock.v1", "back_in_stock.v1"]
    sequences = [message.sequence for message in service.store.published]
    assert sequences == list(range(1, len(sequences) + 1))


async def test_each_command_of_a_group_raises_its_own_events() -> None:
    service = Service()
    await service.send_group(
        CreateBatch(ref="batch-1", sku=SKU, qty=10),
        SetReorderPoint(sku=SKU, qty=5),
        Allocate(order_id="order-1", sku=SKU, qty=10),
        CancelAllocation(order_id="order-1", sku=SKU),
        Allocate(order_id="order-2", sku=SKU, qty=6),
    )

    assert service.types_heard() == [
        "batch_created.v1",
        "line_allocated.v1",
        "low_stock.v1",
        "line_deallocated.v1",
        "back_in_stock.v1",
        "line_allocated.v1",
        "low_stock.v1",
    ]


async def test_a_reorder_point_of_an_unknown_sku_is_refused() -> None:
    service = Service()

    with pytest.raises(ProductNotFoundError):
        await service.send(SetReorderPoint(sku=SKU, qty=5))

    assert service.store.tables.products == {}
