"""Lines that need more of a batch than pieces, after something about the batch has changed."""

from datetime import date

import pytest

from app.domain.choice import Requirements
from app.domain.commands import Allocate, ChangeBatch, ChangeBatchEta, CreateBatch, PlaceOrder
from app.domain.errors import OutOfStockError
from app.domain.stock import BatchTerms
from tests.support.holds import NOON, hold
from tests.support.messages import Service
from tests.support.products import Shop, moved

MONDAY, TUESDAY, FRIDAY = date(2030, 1, 7), date(2030, 1, 8), date(2030, 1, 11)


def test_a_late_batch_whose_goods_are_not_good_for_long_enough_gives_no_line_to_one_that_comes_later() -> None:
    shop = Shop()
    shop.batch("late", 2, MONDAY)
    shop.order("first", 2, requirements=Requirements(good_until=FRIDAY))
    shop.batch("friday", 4, FRIDAY)

    moves = shop.change("late", 2, TUESDAY, reallocate=True, terms=BatchTerms(best_before=TUESDAY))

    assert (moves, shop.where("first")) == ([], "late")


def test_a_late_batch_that_went_elsewhere_gives_a_line_to_any_batch_where_the_line_wants_it() -> None:
    shop = Shop()
    shop.batch("late", 2, MONDAY, BatchTerms("berlin"))
    shop.order("first", 2, requirements=Requirements(("berlin",)))
    shop.batch("friday", 4, FRIDAY, BatchTerms("berlin"))

    moves = shop.change("late", 2, TUESDAY, reallocate=True, terms=BatchTerms("rome"))

    assert moved(moves) == [("first", "late", "friday")]


def test_a_hold_that_ends_because_its_batch_was_blocked_says_so() -> None:
    shop = Shop()
    shop.begin(NOON)
    shop.batch("bad", 2)
    shop.hold("first", 2, 60)
    shop.forget_story()

    shop.change("bad", 2, None, reallocate=True, terms=BatchTerms(is_blocked=True))

    assert shop.story() == ["3 BatchTermsChanged bad: 2, warehouse", "4 HoldReleased first: 2 from bad, batch_blocked"]


def test_a_line_does_not_grow_on_a_batch_that_went_where_the_line_does_not_want_it() -> None:
    shop = Shop()
    shop.batch("gone", 9, terms=BatchTerms("berlin"))
    shop.order("first", 2, requirements=Requirements(("berlin",)))
    shop.change("gone", 9, None, terms=BatchTerms("rome"))
    shop.batch("here", 3, terms=BatchTerms("berlin"))

    shop.resize("first", 1)
    assert shop.where("first") == "gone"
    shop.resize("first", 3)
    assert shop.where("first") == "here"
    with pytest.raises(OutOfStockError):
        shop.resize("first", 4)
    assert shop.where("first") == "here"


async def test_a_hold_that_leaves_its_requirements_out_is_checked_by_those_that_its_line_has() -> None:
    """Otherwise the other lines of the order would have changed before the refusal."""
    service = Service()
    await service.send(
        CreateBatch(ref="chairs", sku="CHAIR", qty=9),
        CreateBatch(ref="tables", sku="TABLE", qty=2, location="berlin"),
        CreateBatch(ref="other-tables", sku="TABLE", qty=9),
    )
    lines = [{"sku": "CHAIR", "qty": 1}, {"sku": "TABLE", "qty": 1, "from": ["berlin"]}]
    await service.send(PlaceOrder.model_validate({"order_id": "order-1", "lines": lines, "hold_for": 60}))
    service.heard()

    with pytest.raises(OutOfStockError):
        await service.send(hold("order-1", 60, ("CHAIR", 2), ("TABLE", 3)))

    assert service.types_heard() == ["allocation_failed.v1"]
    assert service.store.tables.lines["order-1", "CHAIR"].qty == 1


async def test_a_delay_with_reallocate_empties_a_blocked_batch_also_over_kafka() -> None:
    """Over HTTP it does, and `reallocate` means the same everywhere."""
    service = Service()
    await service.send(
        CreateBatch(ref="bad", sku="CHAIR", qty=2),
        Allocate(order_id="order-1", sku="CHAIR", qty=2),
        ChangeBatch(ref="bad", blocked=True),
        CreateBatch(ref="good", sku="CHAIR", qty=2, eta=FRIDAY),
    )

    changed = await service.send(ChangeBatchEta(ref="bad", eta=MONDAY, reallocate=True))

    assert [(move.order_id, move.to_batch_ref) for move in changed.moved] == [("order-1", "good")]
