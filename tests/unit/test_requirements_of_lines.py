"""Lines that need more of a batch than pieces, after something about the batch has changed."""

from datetime import date

from app.domain.choice import Requirements
from app.domain.stock import BatchTerms
from tests.support.holds import NOON
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
