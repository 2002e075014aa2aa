"""Rows of holds that were damaged outside the service: each difference is found and repaired."""

import pytest

from app.bootstrap import Service
from app.domain.commands import Allocate, Command, CreateBatch
from app.operations.hold_sweeper import HoldSweeper
from tests.support.database import results
from tests.support.reconciling import found, sql

HOLDS: list[Command] = [
    CreateBatch(ref="old", sku="VASE", qty=10),
    Allocate(order_id="order-1", sku="VASE", qty=2),
    Allocate(order_id="order-2", sku="VASE", qty=3, hold_for=600),
    Allocate(order_id="order-3", sku="VASE", qty=4, hold_for=900),
]
"""Batch `old` has a firm line, two held ones, and one piece left."""


@pytest.fixture
async def holding(service: Service) -> Service:
    """The service with HOLDS, whose first one ends at noon of 2030-01-01."""
    await results(service.bus, *HOLDS)
    await sql(
        service,
        "UPDATE order_lines SET held_until = '2030-01-01T12:00:00Z' WHERE order_id = 'order-2';"
        "UPDATE order_lines SET held_until = '2030-01-01T13:00:00Z' WHERE order_id = 'order-3';"
        "UPDATE products SET earliest_hold_end = '2030-01-01T12:00:00Z'",
    )
    return service


@pytest.mark.parametrize(
    ("damage", "lines"),
    [
        pytest.param(
            "UPDATE batches SET held_qty = 3",
            ["held_qty VASE: batch old has 3 held; its lines have 7 held"],
            id="a-batch-with-too-small-a-sum",
        ),
        pytest.param(
            "UPDATE batches SET held_qty = 9",
            ["held_qty VASE: batch old has 9 held; its lines have 7 held"],
            id="a-batch-with-too-large-a-sum",
        ),
        pytest.param(
            "UPDATE batches SET allocated_lines = 3",
            ["allocated_qty VASE: batch old has in 3 firm lines; its lines have in 1 firm lines"],
            id="held-lines-counted-as-firm",
        ),
        pytest.param(
            "UPDATE batches SET allocated_qty = 2, held_qty = 0",
            [
                "allocated_qty VASE: batch old has 2 allocated; its lines have 9 allocated",
                "held_qty VASE: batch old has 0 held; its lines have 7 held",
            ],
            id="a-batch-with-two-wrong-sums",
        ),
        pytest.param(
            "UPDATE products SET held_qty = 8",
            ["held_qty VASE: the product has 8 held; its lines have 7 held"],
            id="a-product-with-too-large-a-sum",
        ),
        pytest.param(
            "UPDATE products SET earliest_hold_end = NULL",
            ["held_qty VASE: a hold ends at 2030-01-01T12:00:00.000Z, the product has none"],
            id="holds-that-would-never-end",
        ),
        pytest.param(
            "UPDATE products SET held_qty = 0, earliest_hold_end = '2030-01-01T12:00:00.001Z'",
            [
                "held_qty VASE: the product has 0 held; its lines have 7 held",
                "held_qty VASE: a hold ends at 2030-01-01T12:00:00.000Z, the product has 2030-01-01T12:00:00.001Z",
            ],
            id="holds-that-would-end-late",
        ),
    ],
)
async def test_a_difference_of_holds_is_found_and_repaired(holding: Service, damage: str, lines: list[str]) -> None:
    await sql(holding, damage)

    assert await found(holding) == lines
    assert await found(holding, repair=True) == [f"{line} (repaired)" for line in lines]
    assert await found(holding) == []


async def test_an_end_that_is_earlier_than_every_hold_is_no_difference(holding: Service) -> None:
    """It is a lower bound: it stays when the first hold is confirmed, and when all are."""
    await results(holding.bus, *(Allocate(order_id=order, sku="VASE", qty=qty) for order, qty in [("order-2", 3)]))
    assert await found(holding) == []
    await results(holding.bus, Allocate(order_id="order-3", sku="VASE", qty=4))
    assert await found(holding) == []


async def test_a_repaired_hold_ends(holding: Service) -> None:
    await sql(
        holding,
        "UPDATE order_lines SET held_until = '2020-01-01' WHERE held_until IS NOT NULL;"
        "UPDATE products SET earliest_hold_end = NULL, held_qty = 1; UPDATE batches SET held_qty = 0",
    )
    await found(holding, repair=True)

    await HoldSweeper(holding).sweep()

    batch = await holding.queries.batch("old")
    assert (batch.allocated_qty, batch.held_qty, batch.available_qty) == (2, 0, 8)
    assert await found(holding) == []


async def test_an_oversold_batch_with_holds_is_closed(holding: Service) -> None:
    await sql(holding, "UPDATE order_lines SET qty = 12 WHERE order_id = 'order-3'; UPDATE batches SET held_qty = 0")

    lines = await found(holding, repair=True)

    assert [line.split(":")[0] for line in lines] == ["allocated_qty VASE", "held_qty VASE", "held_qty VASE"]
    batch = await holding.queries.batch("old")
    assert (batch.allocated_qty, batch.held_qty, batch.available_qty) == (10, 10, 0)
