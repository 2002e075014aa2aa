"""A line gets another quantity in one step: nothing that it holds is free for others in between."""

from datetime import date

import pytest

from app.domain.errors import AllocationNotFoundError, AlreadyShippedError, OutOfStockError
from faults.replay import Replay
from faults.story import Event
from tests.support.products import SKU, Shop

LATER = date(2030, 2, 1)
LEFT = {"order_id": "mine", "qty": 5, "batch_ref": "batch-1", "reason": "cancelled", "new_qty": 6}


def test_a_larger_line_keeps_its_stock_from_a_waiting_line() -> None:
    shop = Shop()
    shop.batch("batch-1", 8)
    shop.order("mine", 5)
    shop.order("waiting", 8)
    shop.forget_story()

    shop.resize("mine", 6)

    assert (shop.where("mine"), shop.where("waiting")) == ("batch-1", None)
    assert shop.available() == {"batch-1": 2}
    assert shop.story() == ["5 LineDeallocated mine: 5 from batch-1, now 6", "6 LineAllocated mine: 6 from batch-1"]


def test_a_smaller_line_stays_on_its_batch_and_serves_the_queue() -> None:
    shop = Shop()
    shop.batch("ship", 8, LATER)
    shop.order("mine", 8)
    shop.order("waiting", 4)
    shop.batch("warehouse", 3)
    shop.forget_story()

    shop.resize("mine", 3)

    assert (shop.where("mine"), shop.where("waiting")) == ("ship", "ship")
    assert shop.story() == [
        "6 LineDeallocated mine: 8 from ship, now 3",
        "7 LineAllocated mine: 3 from ship",
        "8 LineAllocated waiting: 4 from ship",
    ]


def test_a_larger_line_stays_on_its_batch_although_another_one_is_preferred() -> None:
    shop = Shop()
    shop.batch("ship", 10, LATER)
    shop.order("mine", 5)
    shop.batch("warehouse", 10)

    shop.resize("mine", 10)

    assert shop.where("mine") == "ship"
    assert shop.available() == {"warehouse": 10, "ship": 0}


def test_a_larger_line_that_its_batch_cannot_hold_moves_to_the_best_batch_that_can() -> None:
    shop = Shop()
    shop.batch("small", 5)
    shop.order("mine", 5)
    shop.batch("later", 9, date(2030, 3, 1))
    shop.batch("too-small", 5)
    shop.batch("late", 9, LATER)
    shop.forget_story()

    shop.resize("mine", 6)

    assert shop.where("mine") == "late"
    assert shop.available() == {"small": 5, "too-small": 5, "late": 3, "later": 9}
    assert shop.story() == ["6 LineDeallocated mine: 5 from small, now 6", "7 LineAllocated mine: 6 from late"]


def test_a_larger_line_that_no_batch_holds_is_refused_and_stays_as_it_was() -> None:
    shop = Shop()
    shop.batch("batch-1", 8)
    shop.order("mine", 5)
    shop.order("other", 2)
    shop.forget_story()
    before = shop.snapshot()

    with pytest.raises(OutOfStockError, match=SKU):
        shop.resize("mine", 7)

    assert shop.snapshot() == before
    assert shop.story() == ["4 OutOfStock mine: 7", "5 AllocationFailed mine: 7, out_of_stock"]


def test_a_waiting_line_changes_and_keeps_its_place_in_the_queue() -> None:
    shop = Shop()
    shop.batch("batch-1", 1)
    shop.order("first", 5)
    shop.order("second", 5)
    shop.forget_story()

    shop.resize("first", 7)

    assert shop.product.backordered_qty == 12
    assert shop.story() == [
        "6 LineDeallocated first: 5 from queue, now 7",
        "7 OutOfStock first: 7",
        "8 LineBackordered first: 7",
    ]
    shop.batch("restock", 7)
    assert (shop.where("first"), shop.where("second")) == ("restock", None)


def test_a_waiting_line_that_fits_when_it_is_smaller_is_allocated() -> None:
    shop = Shop()
    shop.batch("batch-1", 4)
    shop.order("mine", 5)
    shop.forget_story()

    shop.resize("mine", 4)

    assert (shop.where("mine"), shop.product.backordered_qty) == ("batch-1", 0)
    assert shop.story() == ["4 LineDeallocated mine: 5 from queue, now 4", "5 LineAllocated mine: 4 from batch-1"]


def test_a_line_that_stays_on_its_batch_does_not_leave_it_earlier_for_that() -> None:
    shop = Shop()
    shop.batch("batch-1", 10)
    shop.order("older", 4)
    shop.order("younger", 4)
    shop.resize("older", 3)

    shop.cut("batch-1", 4)

    assert (shop.where("older"), shop.where("younger")) == ("batch-1", None)


@pytest.mark.parametrize("shipped", [False, True])
def test_the_same_quantity_changes_nothing_and_raises_no_event(*, shipped: bool) -> None:
    shop = Shop()
    shop.batch("batch-1", 8)
    shop.order("mine", 5)
    if shipped:
        shop.ship("mine")
    shop.forget_story()
    before = shop.snapshot()

    assert shop.resize("mine", 5).line.qty == 5

    assert shop.snapshot() == before
    assert shop.story() == []


@pytest.mark.parametrize("qty", [4, 6])
def test_a_shipped_line_and_one_that_is_not_there_are_refused(qty: int) -> None:
    shop = Shop()
    shop.batch("batch-1", 8)
    shop.order("mine", 5)
    shop.ship("mine")
    before = shop.snapshot()

    with pytest.raises(AlreadyShippedError):
        shop.resize("mine", qty)
    with pytest.raises(AllocationNotFoundError):
        shop.resize("another", qty)

    assert shop.snapshot() == before


def test_a_change_raises_low_stock_and_back_in_stock() -> None:
    shop = Shop()
    shop.batch("batch-1", 8)
    shop.watch(3)
    shop.order("mine", 5)
    shop.forget_story()

    shop.resize("mine", 8)
    assert shop.story()[2:] == ["5 LowStock: 0"]
    shop.resize("mine", 5)
    assert shop.story()[2:] == ["8 BackInStock: 3"]


def test_replaying_the_events_gives_the_sums() -> None:
    """A reader from before there were changes of a line takes one for a cancellation and a new line."""
    replay = Replay.of(
        Event(f"event-{number}", type_, SKU, number, {"sku": SKU, **data}, cause)
        for number, (type_, cause, data) in enumerate(
            [
                ("batch_created.v1", "1", {"ref": "batch-1", "qty": 8, "eta": None}),
                ("line_allocated.v1", "2", {"order_id": "mine", "qty": 5, "batch_ref": "batch-1"}),
                ("line_deallocated.v1", "3", LEFT),
                ("line_allocated.v1", "3", {"order_id": "mine", "qty": 6, "batch_ref": "batch-1"}),
            ],
            start=1,
        )
    )

    assert replay.faults == []
    assert (replay.lines["mine", SKU].qty, replay.batches["batch-1"].allocated_qty) == (6, 6)
