"""What a product can promise, without promising it."""

from datetime import date

import pytest

from tests.support.products import Shop

EARLY, LATE = date(2011, 1, 1), date(2011, 1, 2)


@pytest.mark.parametrize(("qty", "ref"), [(5, "here"), (6, "early"), (9, "late"), (21, None)])
def test_the_best_batch_is_the_one_that_a_line_would_get(qty: int, ref: str | None) -> None:
    shop = Shop()
    for name, batch_qty, eta in (("late", 20, LATE), ("early", 8, EARLY), ("here", 5, None)):
        shop.batch(name, batch_qty, eta)
    before = shop.snapshot()

    best = shop.product.batches.best(qty)

    assert (best and best.ref) == ref
    assert shop.snapshot() == before
    assert shop.order("order-1", qty).batch is best


@pytest.mark.parametrize(
    ("eta", "day", "is_here"),
    [(None, date.min, True), (EARLY, EARLY, True), (EARLY, LATE, True), (LATE, EARLY, False)],
)
def test_a_batch_is_here_from_the_day_it_arrives(eta: date | None, day: date, is_here: bool) -> None:
    assert Shop().batch("batch-1", 1, eta).is_here_by(day) is is_here
