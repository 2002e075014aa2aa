"""A shipped line is neither cancelled, nor moved, nor counted as available again."""

from datetime import date

import pytest

from app.domain.errors import AllocationNotFoundError, AlreadyShippedError, BelowShippedError, NotAllocatedError
from tests.support.products import Shop, moved

TOMORROW = date(2030, 1, 2)


def shop_with_a_shipped_line() -> Shop:
    shop = Shop()
    shop.batch("batch-1", 10)
    shop.order("gone", 4)
    shop.ship("gone")
    shop.forget_story()
    return shop


def test_shipping_raises_one_event_and_counts_once() -> None:
    shop = Shop()
    shop.batch("batch-1", 10)
    shop.order("order-1", 4)
    shop.forget_story()

    first = shop.ship("order-1")
    again = shop.ship("order-1")

    assert first is again
    assert shop.story() == ["3 LineShipped order-1: 4 from batch-1"]
    batch = shop.product.batches.find("batch-1")
    assert (batch.allocated_qty, batch.allocated_lines, batch.shipped_qty, batch.available_qty) == (0, 0, 4, 6)


def test_a_line_that_waits_cannot_be_shipped() -> None:
    shop = Shop()
    shop.batch("batch-1", 1)
    shop.order("order-1", 4)
    before = shop.snapshot()
    shop.forget_story()

    with pytest.raises(NotAllocatedError):
        shop.ship("order-1")

    assert (shop.snapshot(), shop.story()) == (before, [])


def test_a_line_that_is_not_there_cannot_be_shipped() -> None:
    shop = Shop()
    shop.batch("batch-1", 1)

    with pytest.raises(AllocationNotFoundError):
        shop.ship("order-1")


def test_a_shipped_line_is_not_cancelled_so_its_stock_is_not_released_a_second_time() -> None:
    shop = shop_with_a_shipped_line()
    before = shop.snapshot()

    with pytest.raises(AlreadyShippedError):
        shop.cancel("gone")

    assert (shop.snapshot(), shop.story()) == (before, [])


def test_a_cut_passes_over_what_has_been_shipped() -> None:
    shop = Shop()
    shop.batch("batch-1", 10)
    shop.order("first", 3)
    shop.order("second", 3)
    shop.order("last", 4)
    shop.ship("last")

    assert moved(shop.cut("batch-1", 7)) == [("second", "batch-1", None)]
    assert shop.available() == {"batch-1": 0}


def test_a_batch_is_not_cut_below_what_has_been_shipped_from_it() -> None:
    shop = shop_with_a_shipped_line()
    before = shop.snapshot()

    with pytest.raises(BelowShippedError, match="4 pieces of batch batch-1"):
        shop.cut("batch-1", 3)
    with pytest.raises(BelowShippedError):
        shop.change("batch-1", 3, TOMORROW)

    assert (shop.snapshot(), shop.story()) == (before, [])
    assert shop.cut("batch-1", 4) == []


def test_the_same_line_again_is_still_shipped() -> None:
    shop = shop_with_a_shipped_line()

    again = shop.order("gone", 4)

    assert again.shipped_sequence is not None
    assert shop.story() == []
