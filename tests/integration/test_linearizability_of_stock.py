"""The outside judge on counts and reorder points. Without Go these tests are skipped."""

from pathlib import Path

import pytest

from faults.wording import Fields
from tests.support.operations import allocated, counted, created, read, reordered, verdict


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(
            [
                created(1, 2),
                created(3, 4, "b2"),
                allocated(5, 6, "o1", 9),
                counted(7, 8, 9, "quantity b1 9 ", "quantity b2 0 "),
                counted(9, 10, 11, "quantity b2 2 "),
            ],
            id="a count takes available pieces of the last batch first, and gives to the last batch",
        ),
        pytest.param(
            [
                created(1, 2),
                reordered(3, 4, 8),
                allocated(5, 6, "o1", 6) | {"effects": ["allocated o1 6 b1", "low 4 8"]},
                allocated(7, 8, "o2", 1) | {"effects": ["allocated o2 1 b1"]},
            ],
            id="low stock is published once",
        ),
    ],
)
def test_accepts_what_the_rules_give(program: Path, history: list[Fields]) -> None:
    assert verdict(program, *history) == "ok"


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(
            [created(1, 2), counted(3, 4, 3, "quantity b1 4 ")], id="a count of a product that leaves too much"
        ),
        pytest.param(
            [created(1, 2), created(3, 4, "b2"), counted(5, 6, 12, "quantity b1 2 ")], id="not cut from the last batch"
        ),
        pytest.param([created(1, 2), counted(3, 4, 12, "created new 2 ", ref="new")], id="a batch that is not needed"),
        pytest.param(
            [created(1, 2), reordered(3, 4, 8), allocated(5, 6, "o1", 6) | {"effects": ["allocated o1 6 b1"]}],
            id="low stock not published",
        ),
        pytest.param([created(1, 2), reordered(3, 4, 8), read(5, 6, 0)], id="a read without the reorder point"),
    ],
)
def test_refuses_what_the_rules_do_not_give(program: Path, history: list[Fields]) -> None:
    assert verdict(program, *history) == "illegal"
