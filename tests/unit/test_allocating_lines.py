"""Rules 1 to 4: one batch for the whole line, in the order of preference, at most once, or what else."""

from datetime import date

import pytest

from app.domain.errors import AllocationConflictError, AllocationNotFoundError, OutOfStockError
from app.domain.product import Product
from app.domain.stock import OrderLine
from tests.support.products import SKU, Shop

TODAY = date(2030, 1, 1)
TOMORROW = date(2030, 1, 2)
LATER = date(2030, 2, 1)


def test_a_line_takes_its_quantity_from_the_batch() -> None:
    shop = Shop()
    batch = shop.batch("speedy-chairs", 20)

    allocation = shop.order("order-1", 2)

    assert allocation.batch is batch
    assert (batch.allocated_qty, batch.available_qty) == (2, 18)


def test_a_line_may_take_the_last_piece() -> None:
    shop = Shop()
    shop.batch("speedy-chairs", 2)

    assert shop.order("order-1", 2).batch is not None
    assert shop.available() == {"speedy-chairs": 0}


def test_a_line_is_never_split_over_batches() -> None:
    shop = Shop()
    shop.batch("five", 5)
    shop.batch("five-more", 5)

    assert shop.order("order-1", 6).batch is None
    assert shop.available() == {"five": 5, "five-more": 5}


def test_passes_over_a_preferred_batch_that_cannot_hold_the_whole_line() -> None:
    shop = Shop()
    shop.batch("in-stock", 5)
    shop.batch("shipment", 10, TOMORROW)

    shop.order("order-1", 6)

    assert shop.where("order-1") == "shipment"
    assert shop.available() == {"in-stock": 5, "shipment": 4}


def test_prefers_warehouse_stock_over_shipments() -> None:
    shop = Shop()
    shop.batch("shipment", 100, TOMORROW)
    shop.batch("in-stock", 100)

    shop.order("order-1", 10)

    assert shop.available() == {"in-stock": 90, "shipment": 100}


def test_prefers_warehouse_stock_over_a_shipment_of_the_first_day_there_is() -> None:
    shop = Shop()
    shop.batch("ancient", 100, date.min)
    shop.batch("in-stock", 100)

    shop.order("order-1", 10)

    assert shop.where("order-1") == "in-stock"


def test_prefers_earlier_shipments() -> None:
    shop = Shop()
    shop.batch("slow", 100, LATER)
    shop.batch("fast", 100, TODAY)
    shop.batch("normal", 100, TOMORROW)

    shop.order("order-1", 10)

    assert shop.where("order-1") == "fast"
    assert list(shop.available()) == ["fast", "normal", "slow"]


@pytest.mark.parametrize("eta", [None, TODAY])
def test_prefers_the_batch_recorded_first_among_equals(eta: date | None) -> None:
    shop = Shop()
    shop.batch("zebra", 10, eta)
    shop.batch("aardvark", 10, eta)

    shop.order("order-1", 10)
    shop.order("order-2", 10)

    assert (shop.where("order-1"), shop.where("order-2")) == ("zebra", "aardvark")


def test_the_batch_recorded_first_stays_first_whatever_was_allocated_or_changed_since() -> None:
    shop = Shop()
    shop.batch("first", 10, TODAY)
    shop.batch("second", 10, TODAY)
    shop.order("order-1", 4)
    shop.change("first", 12, LATER)
    shop.change("first", 12, TODAY)

    assert list(shop.available()) == ["first", "second"]


def test_an_allocation_raises_an_event() -> None:
    shop = Shop()
    shop.batch("in-stock", 10)
    shop.order("order-1", 3)

    assert shop.story() == ["1 BatchCreated in-stock: 10, warehouse", "2 LineAllocated order-1: 3 from in-stock"]


def test_the_same_line_again_changes_nothing_and_raises_no_event() -> None:
    shop = Shop()
    shop.batch("in-stock", 10)
    first = shop.order("order-1", 3)
    shop.forget_story()
    before = shop.snapshot()

    again, created = shop.product.allocate(OrderLine("order-1", SKU, 3), "reject")

    assert again is first
    assert not created
    assert shop.snapshot() == before
    assert shop.story() == []


def test_the_same_backordered_line_again_keeps_its_place_even_where_it_asks_to_be_rejected() -> None:
    shop = Shop()
    shop.batch("in-stock", 1)
    shop.order("order-1", 3)
    before = shop.snapshot()
    shop.forget_story()

    again, created = shop.product.allocate(OrderLine("order-1", SKU, 3), "reject")

    assert (again.batch, created) == (None, False)
    assert shop.snapshot() == before
    assert shop.story() == []


@pytest.mark.parametrize("accepted", [3, 30])
def test_another_quantity_for_the_same_order_is_a_conflict_and_changes_nothing(accepted: int) -> None:
    shop = Shop()
    shop.batch("in-stock", 10)
    shop.order("order-1", accepted)
    before = shop.snapshot()
    shop.forget_story()

    with pytest.raises(AllocationConflictError, match=f"already has {accepted} of sku RED-CHAIR"):
        shop.order("order-1", 4)

    assert shop.snapshot() == before
    assert [line.partition(" ")[2] for line in shop.story()] == ["AllocationFailed order-1: 4, conflict"]


def test_a_line_that_nothing_can_hold_waits() -> None:
    shop = Shop()
    shop.batch("in-stock", 2)

    allocation = shop.order("order-1", 3)

    assert allocation.batch is None
    assert allocation.allocated_sequence is None
    assert shop.product.backordered_qty == 3
    assert shop.story()[1:] == ["2 OutOfStock order-1: 3", "3 LineBackordered order-1: 3"]


def test_a_line_that_asked_not_to_wait_is_refused_and_forgotten() -> None:
    shop = Shop()
    shop.batch("in-stock", 2)
    before = shop.snapshot()

    with pytest.raises(OutOfStockError, match=r"^Out of stock for sku RED-CHAIR$"):
        shop.order("order-1", 3, "reject")

    assert shop.snapshot() == before
    assert shop.story()[1:] == ["2 OutOfStock order-1: 3", "3 AllocationFailed order-1: 3, out_of_stock"]


def test_a_refused_line_may_be_placed_with_another_quantity() -> None:
    shop = Shop()
    shop.batch("in-stock", 2)
    with pytest.raises(OutOfStockError):
        shop.order("order-1", 3, "reject")

    assert shop.order("order-1", 2, "reject").batch is not None


def test_a_cancelled_line_frees_its_stock_and_is_forgotten() -> None:
    shop = Shop()
    shop.batch("in-stock", 10)
    shop.order("order-1", 3)
    shop.forget_story()

    shop.cancel("order-1")

    assert shop.available() == {"in-stock": 10}
    assert shop.product.allocations == {}
    assert shop.story() == ["3 LineDeallocated order-1: 3 from in-stock, cancelled"]


def test_a_waiting_line_that_is_cancelled_leaves_the_queue() -> None:
    shop = Shop()
    shop.batch("in-stock", 1)
    shop.order("order-1", 3)
    shop.forget_story()

    shop.cancel("order-1")

    assert shop.product.backordered_qty == 0
    assert shop.story() == ["4 LineDeallocated order-1: 3 from queue, cancelled"]


def test_a_cancelled_line_may_be_placed_anew_with_another_quantity() -> None:
    shop = Shop()
    shop.batch("in-stock", 10)
    shop.order("order-1", 3)
    shop.cancel("order-1")

    assert shop.order("order-1", 4).line.qty == 4
    assert shop.available() == {"in-stock": 6}


def test_what_was_never_accepted_cannot_be_cancelled() -> None:
    shop = Shop()
    shop.batch("in-stock", 10)
    before = shop.snapshot()
    shop.forget_story()

    with pytest.raises(AllocationNotFoundError, match="Order order-1 has no line of sku RED-CHAIR"):
        shop.cancel("order-1")

    assert shop.snapshot() == before
    assert shop.story() == []


def test_events_are_counted_without_a_gap_whatever_was_refused_between() -> None:
    shop = Shop()
    shop.batch("in-stock", 3)
    shop.order("order-1", 3)
    for qty in (1, 2):
        with pytest.raises(AllocationConflictError):
            shop.order("order-1", qty)
    shop.order("order-2", 1)
    shop.cancel("order-1")

    events = shop.product.take_events()

    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert {event.subject for event in events} == {SKU}


def test_events_are_handed_out_once() -> None:
    shop = Shop()
    shop.batch("in-stock", 3)

    assert len(shop.product.take_events()) == 1
    assert shop.product.take_events() == []


def test_a_product_without_batches_backorders() -> None:
    product = Product(SKU)

    allocation, created = product.allocate(OrderLine("order-1", SKU, 1), "backorder")

    assert (allocation.batch, created) == (None, True)
