"""Holds: their cost beside allocations that are firm, and the end of many at once."""

import asyncio
from typing import Any

from bench.plan import Plan
from bench.report import Row
from bench.scenarios.steps import CONNECTIONS, IN_FLIGHT, MANY, drifted, empty_outbox, lines_of, run_bus, run_load
from bench.stack import Stack, running_server

EVERY = 3
"""A third of the lines is held."""

ENDING = 10_000
SKUS_BESIDE = 32
SECONDS = 4
"""Of the load beside the ends of holds: with a shorter one, the ends would be a larger part of it."""


def holds_among_allocations(stack: Stack, plan: Plan) -> list[Row]:
    """The rate of the bus with a third of all lines as holds, over that without."""
    row = Row("bus alone, a third of the lines held", "over none held", [], at_least=0.8)
    for number in range(plan.rounds):
        plan.say(f"holds, round {number + 1}")
        rates = []
        for every in (0, EVERY):
            prefix = f"held{every}-{number}-"
            run_bus(stack, do="create_batches", sku_prefix=prefix, skus=MANY)
            commands = {"order_prefix": f"o{prefix}x", "sku_prefix": prefix, "skus": MANY, "held_every": every}
            found = run_bus(stack, do="rate", commands=commands, in_flight=IN_FLIGHT, seconds=plan.seconds)
            plan.check(row.scenario, found["done"], lines_of(stack, f"o{prefix}x"))
            plan.check(row.scenario, 0, drifted(stack, prefix))
            rates.append(found["rate"])
        row.ratios.append(rates[1] / rates[0])
        row.figures = {"bus/s": rates[1], "bus/s with none": rates[0]}
        empty_outbox(stack)
    return [row]


def many_holds_end(stack: Stack, plan: Plan) -> list[Row]:
    """POST from 64 connections while many holds of one of the SKUs end at the same time."""
    row = Row(f"POST while {ENDING:,} holds of one SKU end", "p99 over that before", [], at_most=2.0)
    with running_server(stack, "app", "serve") as port:
        for number in range(plan.rounds):
            plan.say(f"ends of holds, round {number + 1}")
            prefix = f"ends-{number}-"
            run_bus(stack, do="create_batches", sku_prefix=prefix, skus=SKUS_BESIDE)
            run_bus(stack, do="place", sku=f"{prefix}0", lines=ENDING, is_held=True)

            def post(tag: str, prefix: str = prefix) -> dict[str, Any]:
                return {"order_prefix": f"o{prefix}{tag}", "sku_prefix": prefix, "skus": SKUS_BESIDE}

            load = {"connections": CONNECTIONS, "seconds": SECONDS}
            run_load(stack, port, run=load, post=post("warm"))
            before = run_load(stack, port, run=load, post=post("before"))
            asyncio.run(_let_end(stack, f"{prefix}0", SECONDS / 2))
            during = run_load(stack, port, run=load, post=post("during"))
            plan.check(row.scenario, ["201"], list(during["statuses"]))
            # Each unit of work on the SKU ends some hundred; the load may have stopped before all had ended.
            rest = {"order_prefix": f"o{prefix}rest", "sku_prefix": prefix, "skus": 1}
            run_bus(stack, do="rate", commands=rest, in_flight=1, seconds=plan.seconds)
            plan.check(row.scenario, 0, _held(stack, f"{prefix}0"))
            plan.check(row.scenario, 0, drifted(stack, prefix))
            row.ratios.append(during["p99_ms"] / before["p99_ms"])
            row.figures = {"p99 ms": during["p99_ms"], "p99 ms before": before["p99_ms"], "POST/s": during["rate"]}
            empty_outbox(stack)
    return [row]


async def _let_end(stack: Stack, sku: str, seconds: float) -> None:
    """Let all holds of the SKU end at once, in that many seconds."""
    end = f"statement_timestamp() + interval '{seconds} s'"
    await stack.execute(f"UPDATE order_lines SET held_until = {end} WHERE sku = $1 AND held_until IS NOT NULL", sku)
    await stack.execute(f"UPDATE products SET earliest_hold_end = {end} WHERE sku = $1", sku)


def _held(stack: Stack, sku: str) -> int:
    return int(stack.value_of("SELECT held_qty FROM products WHERE sku = $1", sku))
