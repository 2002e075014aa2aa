"""Rules 5 and 7: a batch is recorded once, and whatever frees or adds stock serves the queue."""

from datetime import date

import pytest

from app.domain.errors import BatchConflictError, BatchNotFoundError
from tests.support.products import Shop

TODAY = date(2030, 1, 1)
TOMORROW = date(2030, 1, 2)


def test_a_new_batch_is_wholly_available() -> None:
    shop = Shop()

    batch, created = shop.product.create_batch("batch-1", 10, TODAY)

    assert created
    assert (batch.ref, batch.qty, batch.eta, batch.allocated_qty, batch.available_qty) == ("batch-1", 10, TODAY, 0, 10)
    assert shop.story() == ["1 BatchCreated batch-1: 10, 2030-01-01"]


def test_the_same_batch_again_changes_nothing_and_raises_no_event() -> None:
    shop = Shop()
    shop.batch("batch-1", 10, TODAY)
    shop.order("order-1", 4)
    shop.forget_story()
    before = shop.snapshot()

    batch, created = shop.product.create_batch("batch-1", 10, TODAY)

    assert not created
    assert batch.allocated_qty == 4
    assert shop.snapshot() == before
    assert shop.story() == []


def test_the_batch_as_it_was_first_recorded_is_the_same_whatever_changed_since() -> None:
    shop = Shop()
    shop.batch("batch-1", 10, TODAY)
    shop.change("batch-1", 7, None)

    batch, created = shop.product.create_batch("batch-1", 10, TODAY)

    assert not created
    assert (batch.qty, batch.eta) == (7, None)


@pytest.mark.parametrize(("qty", "eta"), [(11, TODAY), (10, TOMORROW), (10, None)])
def test_other_content_under_the_same_ref_is_a_conflict(qty: int, eta: date | None) -> None:
    shop = Shop()
    shop.batch("batch-1", 10, TODAY)
    shop.forget_story()
    before = shop.snapshot()

    with pytest.raises(BatchConflictError, match="batch-1"):
        shop.batch("batch-1", qty, eta)

    assert shop.snapshot() == before
    assert shop.story() == []


def test_the_present_content_is_a_conflict_where_it_was_recorded_with_other_content() -> None:
    shop = Shop()
    shop.batch("batch-1", 10, TODAY)
    shop.change("batch-1", 7, TOMORROW)

    with pytest.raises(BatchConflictError):
        shop.batch("batch-1", 7, TOMORROW)


def test_an_unknown_batch_cannot_be_changed() -> None:
    shop = Shop()
    shop.batch("batch-1", 10)
    before = shop.snapshot()
    shop.forget_story()

    with pytest.raises(BatchNotFoundError, match="batch-2"):
        shop.change("batch-2", 5, None)

    assert shop.snapshot() == before
    assert shop.story() == []


def test_a_new_batch_serves_the_oldest_request_first() -> None:
    shop = Shop()
    shop.batch("small", 1)
    shop.order("oldest", 6)
    shop.order("younger", 4)
    shop.order("youngest", 3)
    shop.forget_story()

    shop.batch("restock", 10)

    assert [shop.where(order) for order in ("oldest", "younger", "youngest")] == ["restock", "restock", None]
    assert shop.product.backordered_qty == 3
    assert shop.story() == [
        "8 BatchCreated restock: 10, warehouse",
        "9 LineAllocated oldest: 6 from restock",
        "10 LineAllocated younger: 4 from restock",
    ]


def test_a_waiting_line_that_does_not_fit_does_not_hold_up_those_behind_it() -> None:
    shop = Shop()
    shop.batch("small", 1)
    shop.order("huge", 100)
    shop.order("modest", 5)

    shop.batch("restock", 10)

    assert (shop.where("huge"), shop.where("modest")) == (None, "restock")


def test_a_new_line_that_fits_does_not_wait_behind_queued_lines_that_do_not() -> None:
    shop = Shop()
    shop.batch("small", 5)
    shop.order("huge", 100)

    assert shop.order("modest", 5).batch is not None


def test_a_batch_that_grew_serves_the_queue() -> None:
    shop = Shop()
    shop.batch("batch-1", 5)
    shop.order("patient", 8)
    shop.forget_story()

    shop.cut("batch-1", 8)

    assert shop.where("patient") == "batch-1"
    assert shop.story() == ["4 BatchQuantityChanged batch-1: 8, warehouse", "5 LineAllocated patient: 8 from batch-1"]


def test_a_cancellation_serves_the_queue() -> None:
    shop = Shop()
    shop.batch("batch-1", 5)
    shop.order("leaving", 5)
    shop.order("waiting", 3)
    shop.order("waiting-too", 3)
    shop.forget_story()

    shop.cancel("leaving")

    assert (shop.where("waiting"), shop.where("waiting-too")) == ("batch-1", None)
    assert shop.story() == [
        "7 LineDeallocated leaving: 5 from batch-1, cancelled",
        "8 LineAllocated waiting: 3 from batch-1",
        "9 BackInStock: 2",
    ]


def test_a_line_cancelled_and_placed_anew_goes_to_the_end_of_the_queue() -> None:
    shop = Shop()
    shop.batch("batch-1", 1)
    shop.order("was-first", 3)
    shop.order("was-second", 3)
    shop.cancel("was-first")
    shop.order("was-first", 3)

    shop.batch("restock", 3)

    assert (shop.where("was-second"), shop.where("was-first")) == ("restock", None)


def test_an_eta_that_changes_moves_nothing() -> None:
    shop = Shop()
    shop.batch("shipment", 10, TODAY)
    shop.batch("later", 10, TOMORROW)
    shop.order("order-1", 10)
    shop.forget_story()

    moves = shop.change("shipment", 10, date(2031, 1, 1))

    assert moves == []
    assert shop.where("order-1") == "shipment"
    assert shop.story() == ["4 BatchEtaChanged shipment: 10, 2031-01-01"]


def test_a_new_eta_counts_for_the_lines_that_follow() -> None:
    shop = Shop()
    shop.batch("early", 10, TODAY)
    shop.batch("late", 10, TOMORROW)

    shop.change("late", 10, None)
    shop.order("order-1", 5)

    assert shop.where("order-1") == "late"


def test_the_same_values_again_change_nothing_and_raise_no_event() -> None:
    shop = Shop()
    shop.batch("batch-1", 10, TODAY)
    shop.order("order-1", 10)
    shop.order("order-2", 1)
    shop.forget_story()
    before = shop.snapshot()

    assert shop.change("batch-1", 10, TODAY) == []
    assert shop.snapshot() == before
    assert shop.story() == []


def test_an_emptied_batch_stays_and_can_be_filled_again() -> None:
    shop = Shop()
    shop.batch("batch-1", 10)
    shop.cut("batch-1", 0)
    shop.order("order-1", 2)

    shop.cut("batch-1", 2)

    assert shop.where("order-1") == "batch-1"
