"""Holds of single lines, by the rules of the product."""

from datetime import date, timedelta

import pytest

from app.domain.errors import AllocationConflictError, AllocationNotFoundError, NotConfirmedError, OutOfStockError
from tests.support.holds import MICROSECOND, NOON
from tests.support.products import Shop, moved


@pytest.fixture
def shop() -> Shop:
    """Ten pieces in the warehouse, of which order-1 holds six for a minute."""
    shop = Shop()
    shop.begin(NOON)
    shop.batch("here", 10)
    shop.hold("order-1", 6, 60)
    shop.forget_story()
    return shop


def later(shop: Shop, seconds: float) -> None:
    shop.begin(NOON + timedelta(seconds=seconds))


def end_of(shop: Shop, order_id: str) -> float | None:
    """The end of the hold in seconds after noon."""
    held_until = shop.product.allocations[order_id].held_until
    return None if held_until is None else (held_until - NOON).total_seconds()


def test_a_hold_takes_its_pieces_from_the_batch_that_a_line_would_take() -> None:
    shop = Shop()
    shop.begin(NOON)
    shop.batch("later", 10, date(2030, 1, 1))
    shop.batch("here", 10)
    shop.forget_story()

    shop.hold("order-1", 6, 60)

    assert (shop.where("order-1"), end_of(shop, "order-1")) == ("here", 60)
    assert shop.available() == {"here": 4, "later": 10}
    assert shop.product.batches.find("here").held_qty == shop.product.held_qty == 6
    assert shop.story() == ["3 LineHeld order-1: 6 from here, until 12:01:00"]


def test_a_hold_that_no_batch_can_keep_is_refused_and_never_waits(shop: Shop) -> None:
    before = shop.snapshot()
    with pytest.raises(OutOfStockError):
        shop.hold("order-2", 5, 60)
    assert shop.snapshot() == before
    assert shop.story() == ["3 AllocationFailed order-2: 5, out_of_stock"]


def test_the_same_hold_again_does_not_extend(shop: Shop) -> None:
    later(shop, 30)
    shop.hold("order-1", 6, 60)
    assert (end_of(shop, "order-1"), shop.story()) == (60, [])


def test_a_hold_of_another_quantity_is_a_conflict(shop: Shop) -> None:
    with pytest.raises(AllocationConflictError):
        shop.hold("order-1", 5, 60)
    assert end_of(shop, "order-1") == 60


def test_a_confirmation_does_not_look_at_the_stock(shop: Shop) -> None:
    shop.order("order-2", 4)
    shop.forget_story()

    allocation = shop.order("order-1", 6, "reject")

    assert (allocation.held_until, shop.where("order-1"), shop.product.held_qty) == (None, "here", 0)
    assert shop.story() == ["4 LineAllocated order-1: 6 from here"]
    later(shop, 60)
    assert (shop.story(), shop.where("order-1")) == ([], "here")


def test_a_firm_line_stays_firm(shop: Shop) -> None:
    shop.order("order-1", 6)
    shop.hold("order-1", 6, 60)
    assert end_of(shop, "order-1") is None


def test_a_hold_cannot_be_shipped(shop: Shop) -> None:
    with pytest.raises(NotConfirmedError):
        shop.ship("order-1")


def test_a_hold_that_is_cancelled_serves_the_queue(shop: Shop) -> None:
    shop.order("order-2", 10)
    shop.forget_story()
    shop.cancel("order-1")
    assert shop.story() == ["5 HoldReleased order-1: 6 from here, cancelled", "6 LineAllocated order-2: 10 from here"]


def test_a_hold_is_good_before_its_end_and_over_at_its_end(shop: Shop) -> None:
    shop.begin(NOON + timedelta(seconds=60) - MICROSECOND)
    assert shop.where("order-1") == "here"
    later(shop, 60)
    assert "order-1" not in shop.product.allocations
    with pytest.raises(AllocationNotFoundError):
        shop.cancel("order-1")


def test_holds_end_in_the_order_of_their_ends_and_then_serve_the_queue(shop: Shop) -> None:
    shop.hold("order-2", 1, 50)
    shop.hold("order-3", 3, 50)
    shop.order("order-4", 10)
    shop.forget_story()

    later(shop, 60)

    assert shop.story() == [
        "7 HoldReleased order-2: 1 from here, expired",
        "8 HoldReleased order-3: 3 from here, expired",
        "9 HoldReleased order-1: 6 from here, expired",
        "10 LineAllocated order-4: 10 from here",
    ]
    assert (shop.product.held_qty, shop.product.earliest_hold_end) == (0, None)


def test_the_end_of_a_hold_can_bring_stock_back(shop: Shop) -> None:
    shop.hold("order-2", 4, 50)
    shop.forget_story()
    later(shop, 50)
    assert shop.story() == ["4 HoldReleased order-2: 4 from here, expired", "5 BackInStock: 4"]


def test_a_clock_that_is_set_back_revives_no_hold(shop: Shop) -> None:
    shop.hold("order-2", 1, 90)
    later(shop, 80)
    later(shop, 0)
    assert set(shop.product.allocations) == {"order-2"}
    shop.hold("order-3", 1, 60)
    assert end_of(shop, "order-3") == 140


def test_a_new_end_counts_from_now_and_keeps_the_batch(shop: Shop) -> None:
    later(shop, 30)
    shop.hold_anew("order-1", 6, 10)
    assert shop.story() == ["3 LineHeld order-1: 6 from here, until 12:00:40"]
    later(shop, 39)
    assert shop.where("order-1") == "here"
    later(shop, 40)
    assert shop.product.allocations == {}


def test_a_hold_of_more_pieces_counts_its_own_as_free(shop: Shop) -> None:
    shop.hold_anew("order-1", 10, 60)
    assert shop.story() == [
        "3 HoldReleased order-1: 6 from here, replaced",
        "4 LineHeld order-1: 10 from here, until 12:01:00",
    ]
    before = shop.snapshot()
    with pytest.raises(OutOfStockError):
        shop.hold_anew("order-1", 11, 90)
    assert shop.snapshot() == before


def test_another_quantity_keeps_the_end(shop: Shop) -> None:
    later(shop, 30)
    shop.resize("order-1", 4)
    assert (end_of(shop, "order-1"), shop.product.held_qty, shop.available()) == (60, 4, {"here": 6})
    assert shop.story() == [
        "3 HoldReleased order-1: 6 from here, replaced",
        "4 LineHeld order-1: 4 from here, until 12:01:00",
    ]


def test_a_cut_releases_holds_before_firm_lines_and_the_one_held_last_first(shop: Shop) -> None:
    shop.hold("order-2", 2, 60)
    shop.order("order-3", 2)
    shop.forget_story()

    moves = shop.cut("here", 8)

    assert moved(moves) == []
    assert set(shop.product.allocations) == {"order-1", "order-3"}
    assert shop.story()[1:] == ["6 HoldReleased order-2: 2 from here, batch_quantity_changed"]


def test_a_hold_that_fits_another_batch_moves_there_and_keeps_its_end(shop: Shop) -> None:
    shop.batch("later", 6, date(2030, 1, 1))
    shop.forget_story()
    later(shop, 30)

    moves = shop.cut("here", 5)

    assert moved(moves) == [("order-1", "here", "later")]
    assert end_of(shop, "order-1") == 60
    assert shop.story() == [
        "4 BatchQuantityChanged here: 5, warehouse",
        "5 LineHeld order-1: 6 from later, until 12:01:00",
    ]


def test_a_hold_that_fits_no_other_batch_ends_and_does_not_wait(shop: Shop) -> None:
    moves = shop.cut("here", 5)
    assert (moved(moves), shop.product.allocations, shop.product.backordered_qty) == ([], {}, 0)
    assert shop.story()[1:] == ["4 HoldReleased order-1: 6 from here, batch_quantity_changed"]


def test_a_hold_that_returns_to_its_batch_has_not_moved(shop: Shop) -> None:
    shop.hold("order-2", 3, 60)
    shop.order("order-3", 1)
    shop.forget_story()
    # Both holds are released; the older one fits again.
    assert moved(shop.cut("here", 7)) == []
    assert set(shop.product.allocations) == {"order-1", "order-3"}
    assert [event for event in shop.story() if "order-1" in event] == []


def test_a_late_batch_names_firm_lines_and_moves_holds_too(shop: Shop) -> None:
    shop.batch("other", 10)
    moves = shop.change("here", 10, date(2030, 2, 1), reallocate=True)
    assert moved(moves) == [("order-1", "here", "other")]
    assert end_of(shop, "order-1") == 60


def test_low_stock_counts_held_pieces_as_available(shop: Shop) -> None:
    shop.watch(5)
    shop.hold("order-2", 4, 60)
    assert not [event for event in shop.story() if "LowStock" in event]
    shop.order("order-1", 6)
    assert shop.story() == ["4 LineAllocated order-1: 6 from here", "5 LowStock: 4"]
