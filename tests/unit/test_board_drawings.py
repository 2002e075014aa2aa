"""The drawings of the board: bars do not cover each other, and stay in the order of their days."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from app.entrypoints.http.board.bars import HEIGHT, MOST_BARS, WIDTH, drawing_of
from app.entrypoints.http.board.hours import series_of
from app.read_model.activity import HourOfActivity
from app.service_layer.results import BatchState

TODAY = date(2030, 1, 10)


def batch(number: int, days: int | None, qty: int = 10, *, allocated: int = 0, shipped: int = 0) -> BatchState:
    eta = None if days is None else TODAY + timedelta(days=days)
    return BatchState(f"batch-{number}", "CHAIR", qty, eta, allocated, shipped, qty - allocated - shipped, 0)


@pytest.mark.parametrize(
    "days",
    [
        [],
        [None],
        [0],
        [-3],
        [400],
        [None, None, -2, -2, 0, 0, 1, 300],
        [1, 1, 1, 1],
        [-400, -1, 0, 400],
        [*[None] * 12, *range(-4, 20)],
        list(range(40)),
        [None] * 40,
    ],
)
def test_bars_do_not_cover_each_other_and_late_ones_are_before_today(days: list[int | None]) -> None:
    batches = [batch(number, each) for number, each in enumerate(days)]
    drawing = drawing_of(batches, TODAY)
    assert [bar.batch for bar in drawing.bars] == batches[:MOST_BARS]
    assert drawing.left_out == max(0, len(days) - MOST_BARS)
    for left, right in pairwise(drawing.bars):
        assert right.x >= left.x + drawing.bar_width - 0.2
    for bar in drawing.bars:
        assert 0 <= bar.x <= WIDTH - drawing.bar_width + 0.2
        is_before = bar.batch.eta is None or bar.batch.eta < TODAY
        assert bar.x + drawing.bar_width <= drawing.today_x + 0.2 if is_before else bar.x >= drawing.today_x - 0.2
    labelled = [bar.x for bar in drawing.bars if bar.has_label]
    assert all(right >= left + 48 for left, right in pairwise(labelled))


def test_days_are_in_proportion() -> None:
    first, second, third = (bar.x for bar in drawing_of([batch(1, 0), batch(2, 50), batch(3, 100)], TODAY).bars)
    assert third - second == pytest.approx(second - first, abs=40)


def test_the_parts_of_a_bar_are_its_pieces() -> None:
    (bar, other) = drawing_of([batch(1, None, 20, allocated=5, shipped=10), batch(2, 3, 10)], TODAY).bars
    assert [(part.kind, part.y, part.height) for part in bar.segments] == [
        ("shipped", HEIGHT / 2, HEIGHT / 2),
        ("allocated", HEIGHT / 4, HEIGHT / 4),
        ("free", 0, HEIGHT / 4),
    ]
    assert other.top == HEIGHT / 2


def test_hours_are_at_their_place_and_each_kind_has_its_own_scale() -> None:
    hours = [HourOfActivity(datetime(2030, 1, 10, hour, tzinfo=UTC), hour, 0, 1) for hour in (1, 2, 4)]
    allocations, backorders, received = series_of(hours, UTC)
    assert [(bar.x, bar.height) for bar in allocations.bars] == [(11, 10.0), (21, 20.0), (41, 40.0)]
    assert (allocations.total, allocations.most) == (7, 4)
    assert (backorders.bars, backorders.total, backorders.most) == ([], 0, 0)
    assert {bar.height for bar in received.bars} == {40.0}


def test_hours_are_those_of_the_zone_and_an_hour_that_occurs_twice_has_one_bar() -> None:
    # At 1:00 UTC it is 2:00 in Berlin for the second time.
    hours = [HourOfActivity(datetime(2030, 10, 27, hour, tzinfo=UTC), 3, 0, 0) for hour in (0, 1, 2)]
    allocations, *_ = series_of(hours, ZoneInfo("Europe/Berlin"))
    assert [(bar.x, bar.height) for bar in allocations.bars] == [(21, 40.0), (31, 20.0)]
    assert (allocations.total, allocations.most) == (9, 6)
