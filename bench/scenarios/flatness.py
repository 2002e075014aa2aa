"""The cost of an allocation depends neither on the history of the SKU nor on batches that it cannot use."""

import asyncio
from typing import Any

from bench.plan import Plan
from bench.report import Row
from bench.scenarios.steps import drifted, empty_outbox, run_bus
from bench.stack import Stack


def flatness(stack: Stack, plan: Plan) -> list[Row]:
    """Allocations and cuts on SKUs with many lines or sold-out batches, over new SKUs."""
    lines = Row(f"one allocation, {plan.lines_behind:,} lines behind", "p50 over none", [], at_most=1.15)
    batches = Row(f"one allocation, {plan.batches_behind:,} sold-out batches", "p50 over none", [], at_most=1.15)
    cuts = Row("one cut that moves 100 lines, on that SKU", "p50 over a new one", [], at_most=1.3)
    for sku in ("old-0", "new-0", "batches-0", "single-0"):
        run_bus(stack, do="create_batches", sku_prefix=sku[:-1], skus=1)
    plan.say(f"{plan.lines_behind:,} lines behind a SKU")
    asyncio.run(_put_lines_behind(stack, "old-0", plan.lines_behind))
    asyncio.run(_put_batches_behind(stack, "batches-0", plan.batches_behind))
    for number in range(plan.rounds):
        plan.say(f"flatness, round {number + 1}")
        for row, old, new in ((lines, "old-0", "new-0"), (batches, "batches-0", "single-0")):
            figures = run_bus(
                stack,
                do="compare_allocations",
                first_sku=old,
                second_sku=new,
                rounds=plan.compare_rounds,
                tag=f"flat-{old}-{number}",
            )
            row.ratios.append(figures["first_ms"] / figures["second_ms"])
            row.figures = {"p50 ms": figures["first_ms"], "p50 ms with none": figures["second_ms"]}
    plan.say("cuts")
    run_bus(stack, do="create_batches", sku_prefix="fresh-", skus=1)
    figures = run_bus(
        stack, do="compare_cuts", first_sku="old-0", second_sku="fresh-0", rounds=plan.cut_rounds, lines=100
    )
    cuts.ratios.append(figures["first_ms"] / figures["second_ms"])
    cuts.figures = {"p50 ms": figures["first_ms"], "p50 ms on a new one": figures["second_ms"]}
    for sku in ("old-0", "batches-0", "fresh-0"):
        plan.check("flatness", 0, drifted(stack, sku))
    empty_outbox(stack)
    return [lines, batches, cuts]


UNUSABLE: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "blocked": ("NULL", "NULL", "true", {}),
    "expired": ("NULL", "current_date - 1", "false", {}),
    # Only lines that name locations do not need them.
    "elsewhere": ("'north'", "NULL", "false", {"from": ["main"]}),
}
"""Location, best-before day and blocking of batches, and the lines that cannot use them."""


def choice(stack: Stack, plan: Plan) -> list[Row]:
    """Allocations on SKUs with many batches that they cannot use, over new SKUs."""
    rows = []
    for kind, (location, best_before, blocked, requirements) in UNUSABLE.items():
        row = Row(f"one allocation, {plan.batches_behind:,} batches {kind}", "p50 over none", [], at_most=1.15)
        rows.append(row)
        for sku in (f"{kind}-0", f"without-{kind}-0"):
            run_bus(stack, do="create_batches", sku_prefix=sku[:-1], skus=1)
        asyncio.run(_put_unusable(stack, f"{kind}-0", plan.batches_behind, location, best_before, blocked))
        for number in range(plan.rounds):
            plan.say(f"batches {kind}, round {number + 1}")
            figures = run_bus(
                stack,
                do="compare_allocations",
                first_sku=f"{kind}-0",
                second_sku=f"without-{kind}-0",
                rounds=plan.compare_rounds,
                tag=f"choice-{kind}-{number}",
                requirements=requirements,
            )
            row.ratios.append(figures["first_ms"] / figures["second_ms"])
            row.figures = {"p50 ms": figures["first_ms"], "p50 ms with none": figures["second_ms"]}
        plan.check("choice", 0, drifted(stack, f"{kind}-0"))
    empty_outbox(stack)
    return rows


async def _put_unusable(stack: Stack, sku: str, count: int, location: str, best_before: str, blocked: str) -> None:
    """Batches with stock that the commands cannot use. The arguments after the count are SQL."""
    await stack.execute(
        f"""INSERT INTO batches (sku, number, ref, qty, first_qty, location, best_before, blocked)
            SELECT $1, 1 + i, $1 || '-unusable-' || i, 5, 5, {location}, {best_before}, {blocked}
            FROM generate_series(1, $2::int) AS i""",
        sku,
        count,
    )
    await stack.execute("UPDATE products SET sequence = $2::int + 1 WHERE sku = $1", sku, count)


async def _put_lines_behind(stack: Stack, sku: str, count: int) -> None:
    await stack.execute(
        """INSERT INTO order_lines (order_id, sku, qty, requested, batch_number, allocated)
           SELECT 'behind-' || i, $1, 1, 1 + i, 1, 1 + i FROM generate_series(1, $2::int) AS i""",
        sku,
        count,
    )
    await stack.execute(
        "UPDATE batches SET allocated_qty = $2::int, allocated_lines = $2::int WHERE sku = $1", sku, count
    )
    await stack.execute("UPDATE products SET sequence = $2::int + 1 WHERE sku = $1", sku, count)


async def _put_batches_behind(stack: Stack, sku: str, count: int) -> None:
    """Sold-out batches, each with one line that holds all of its pieces."""
    await stack.execute(
        """INSERT INTO batches (sku, number, ref, qty, allocated_qty, allocated_lines, first_qty)
           SELECT $1, 1 + i, 'behind-' || i, 1, 1, 1, 1 FROM generate_series(1, $2::int) AS i""",
        sku,
        count,
    )
    await stack.execute(
        """INSERT INTO order_lines (order_id, sku, qty, requested, batch_number, allocated)
           SELECT 'sold-' || i, $1, 1, 100000 + i, 1 + i, 100000 + i FROM generate_series(1, $2::int) AS i""",
        sku,
        count,
    )
    await stack.execute("UPDATE products SET sequence = 200000 + $2::int WHERE sku = $1", sku, count)
