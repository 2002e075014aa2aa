"""Rule 6: a cut releases the lines allocated last, places them again by request, and loses none."""

from datetime import date

import pytest

from app.domain.product import Product
from app.domain.stock import Batch
from tests.support.products import SKU, Shop, moved

TODAY = date(2030, 1, 1)
TOMORROW = date(2030, 1, 2)


def test_a_cut_that_leaves_enough_moves_nothing() -> None:
    shop = Shop()
    shop.batch("batch-1", 10)
    shop.order("order-1", 6)
    shop.forget_story()

    assert shop.cut("batch-1", 6) == []
    assert shop.available() == {"batch-1": 0}
    assert shop.story() == ["3 BatchQuantityChanged batch-1: 6, warehouse"]


def test_the_scripted_story() -> None:
    shop = Shop()
    shop.batch("old", 10, date(2011, 1, 1))
    shop.batch("newer", 10, date(2011, 1, 2))
    shop.order("order-1", 10)
    shop.forget_story()

    assert moved(shop.cut("old", 5)) == [("order-1", "old", "newer")]
    assert shop.available() == {"old": 5, "newer": 0}
    assert shop.story() == [
        "4 BatchQuantityChanged old: 5, 2011-01-01",
        "5 LineDeallocated order-1: 10 from old, batch_quantity_changed",
        "6 LineAllocated order-1: 10 from newer",
    ]


def test_releases_the_line_allocated_last_first_and_no_more_than_needed() -> None:
    shop = Shop()
    shop.batch("batch-1", 9)
    for order_id in ("first", "second", "third"):
        shop.order(order_id, 3)

    assert moved(shop.cut("batch-1", 5)) == [("second", "batch-1", None), ("third", "batch-1", None)]
    assert shop.where("first") == "batch-1"


def test_who_was_allocated_last_counts_not_who_asked_last() -> None:
    shop = Shop()
    shop.batch("batch-1", 2)
    shop.order("asked-first", 3)
    shop.order("came-first", 2)
    shop.cut("batch-1", 5)

    assert moved(shop.cut("batch-1", 2)) == [("asked-first", "batch-1", None)]
    assert shop.where("came-first") == "batch-1"


def test_places_the_released_lines_again_in_the_order_of_their_requests() -> None:
    shop = Shop()
    shop.batch("batch-1", 10)
    shop.order("older", 5)
    shop.order("younger", 5)
    shop.batch("spare", 5, TODAY)
    shop.forget_story()

    assert moved(shop.cut("batch-1", 0)) == [("older", "batch-1", "spare"), ("younger", "batch-1", None)]
    assert shop.story() == [
        "5 BatchQuantityChanged batch-1: 0, warehouse",
        "6 LineDeallocated younger: 5 from batch-1, batch_quantity_changed",
        "7 LineDeallocated older: 5 from batch-1, batch_quantity_changed",
        "8 LineAllocated older: 5 from spare",
        "9 OutOfStock younger: 5",
        "10 LineBackordered younger: 5",
    ]


def test_each_released_line_goes_to_the_batch_preferred_for_it() -> None:
    shop = Shop()
    shop.batch("batch-1", 12)
    shop.order("large", 8)
    shop.order("small", 4)
    shop.batch("tomorrow", 20, TOMORROW)
    shop.batch("today", 5, TODAY)

    assert moved(shop.cut("batch-1", 0)) == [("large", "batch-1", "tomorrow"), ("small", "batch-1", "today")]


def test_a_line_that_returns_to_its_own_batch_has_not_moved_and_raises_no_event() -> None:
    shop = Shop()
    shop.batch("batch-1", 10)
    shop.order("large", 8)
    shop.order("small", 2)
    shop.forget_story()

    # Releasing `small` is not enough, so `large` goes too; then `small` fits where it was.
    assert moved(shop.cut("batch-1", 5)) == [("large", "batch-1", None)]
    assert shop.where("small") == "batch-1"
    assert shop.story() == [
        "4 BatchQuantityChanged batch-1: 5, warehouse",
        "5 LineDeallocated large: 8 from batch-1, batch_quantity_changed",
        "6 OutOfStock large: 8",
        "7 LineBackordered large: 8",
        "8 BackInStock: 3",
    ]


def test_a_line_that_stayed_keeps_its_place_among_those_allocated() -> None:
    shop = Shop()
    shop.batch("batch-1", 12)
    shop.order("large", 8)
    shop.order("small", 2)
    shop.cut("batch-1", 5)
    shop.order("latecomer", 3)

    assert moved(shop.cut("batch-1", 4)) == [("latecomer", "batch-1", None)]
    assert shop.where("small") == "batch-1"


def test_a_line_may_return_to_its_own_batch_although_another_has_room() -> None:
    shop = Shop()
    shop.batch("warehouse", 10)
    shop.batch("shipment", 10, TODAY)
    shop.order("large", 8)
    shop.order("small", 2)

    assert moved(shop.cut("warehouse", 2)) == [("large", "warehouse", "shipment")]
    assert shop.where("small") == "warehouse"


def test_a_line_that_moved_is_the_last_allocated_of_its_new_batch() -> None:
    shop = Shop()
    shop.batch("old", 5)
    shop.order("traveller", 5)
    shop.batch("new", 10, TODAY)
    shop.order("resident", 5)
    shop.cut("old", 0)

    assert moved(shop.cut("new", 5)) == [("traveller", "new", None)]


def test_a_line_that_loses_its_batch_waits_at_the_place_its_request_gives_it() -> None:
    shop = Shop()
    shop.batch("batch-1", 5)
    shop.order("asked-first", 5)
    shop.order("asked-second", 5)
    shop.cut("batch-1", 0)

    shop.batch("restock", 5)

    assert (shop.where("asked-first"), shop.where("asked-second")) == ("restock", None)


def test_a_line_that_waited_before_keeps_the_place_of_its_first_request() -> None:
    shop = Shop()
    shop.batch("batch-1", 1)
    shop.order("asked-first", 5)
    shop.order("asked-second", 5)
    shop.cut("batch-1", 5)
    assert shop.where("asked-first") == "batch-1"
    shop.cut("batch-1", 0)

    shop.cut("batch-1", 5)

    assert (shop.where("asked-first"), shop.where("asked-second")) == ("batch-1", None)


def test_released_lines_are_placed_before_the_queue_is_served() -> None:
    shop = Shop()
    shop.batch("batch-1", 8)
    shop.order("waiting", 9)
    shop.order("large", 6)
    shop.order("small", 2)

    shop.cut("batch-1", 5)

    assert [shop.where(order) for order in ("waiting", "large", "small")] == [None, None, "batch-1"]


def test_a_cut_that_freed_more_than_it_needed_serves_the_queue() -> None:
    shop = Shop()
    shop.batch("batch-1", 10)
    shop.order("large", 10)
    shop.order("waiting", 3)
    shop.order("waiting-too", 5)
    shop.order("waiting-as-well", 2)
    shop.forget_story()

    assert moved(shop.cut("batch-1", 5)) == [("large", "batch-1", None)]
    assert [shop.where(order) for order in ("waiting", "waiting-too", "waiting-as-well")] == [
        "batch-1",
        None,
        "batch-1",
    ]
    assert shop.story() == [
        "9 BatchQuantityChanged batch-1: 5, warehouse",
        "10 LineDeallocated large: 10 from batch-1, batch_quantity_changed",
        "11 OutOfStock large: 10",
        "12 LineBackordered large: 10",
        "13 LineAllocated waiting: 3 from batch-1",
        "14 LineAllocated waiting-as-well: 2 from batch-1",
    ]


def test_the_new_eta_counts_where_a_cut_places_lines_again() -> None:
    shop = Shop()
    shop.batch("batch-1", 10)
    shop.batch("shipment", 10, TODAY)
    shop.order("large", 8)
    shop.order("small", 2)
    shop.forget_story()

    # Both are released; now that batch-1 comes tomorrow, the shipment of today is the better place for `small`.
    assert moved(shop.change("batch-1", 1, TOMORROW)) == [
        ("large", "batch-1", "shipment"),
        ("small", "batch-1", "shipment"),
    ]
    assert shop.story()[:2] == [
        "5 BatchEtaChanged batch-1: 10, 2030-01-02",
        "6 BatchQuantityChanged batch-1: 1, 2030-01-02",
    ]


def test_a_cut_together_with_an_earlier_eta_keeps_a_line_that_would_have_left() -> None:
    def cut(eta: date) -> list[tuple[str, str, str | None]]:
        shop = Shop()
        shop.batch("batch-1", 10, TOMORROW)
        shop.order("large", 8)
        shop.order("small", 2)
        shop.batch("shipment", 10, TODAY)
        return moved(shop.change("batch-1", 5, eta))

    assert cut(TOMORROW) == [("large", "batch-1", "shipment"), ("small", "batch-1", "shipment")]
    assert cut(date(2029, 1, 1)) == [("large", "batch-1", "shipment")]


def test_no_accepted_line_is_lost_when_everything_is_cut() -> None:
    shop = Shop()
    shop.batch("batch-1", 6)
    for number in range(6):
        shop.order(f"order-{number}", 1)

    moves = shop.cut("batch-1", 0)

    assert [order for order, _, _ in moved(moves)] == [f"order-{number}" for number in range(6)]
    assert shop.product.backordered_qty == 6


def test_refuses_to_guess_where_the_lines_to_release_are_not_in_memory() -> None:
    product = Product(SKU, sequence=2)
    product.attach_batch(Batch(1, "batch-1", 10, None, 10, None, allocated_qty=4))

    with pytest.raises(LookupError, match="not in memory"):
        product.change_quantity("batch-1", 3, None, None)

    assert (product.batches.find("batch-1").qty, product.sequence) == (10, 2)
    assert product.take_events() == []
