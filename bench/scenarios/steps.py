"""Shared steps of the scenarios: start the programs of the benchmark, and count their effects."""

import asyncio
import json
import time
import urllib.request
from typing import Any

from bench.stack import Stack, run_json

MANY = 1000
"""The number of SKUs in scenarios with many SKUs."""

IN_FLIGHT = 256
CONNECTIONS = 64
PUBLISH_SECONDS = 60.0


def run_bus(stack: Stack, **spec: Any) -> Any:  # noqa: ANN401 - figures
    """Run `bench.bus`."""
    return run_json(stack, "bench.bus", json.dumps(spec))


def run_load(stack: Stack, port: int, **spec: Any) -> Any:  # noqa: ANN401 - figures
    """Run `bench.load`."""
    return run_json(stack, "bench.load", json.dumps({"port": port, **spec}))


def lines_of(stack: Stack, order_prefix: str) -> int:
    """The number of lines of orders whose ids have the prefix."""
    return int(stack.value_of("SELECT count(*) FROM order_lines WHERE order_id LIKE $1 || '-%'", order_prefix))


def drifted(stack: Stack, sku_prefix: str) -> int:
    """The number of batches whose stored sums differ from their lines."""
    return int(
        stack.value_of(
            """SELECT count(*) FROM batches b LEFT JOIN (
                   SELECT sku, batch_number, sum(qty) AS qty,
                          count(*) FILTER (WHERE held_until IS NULL) AS lines,
                          coalesce(sum(qty) FILTER (WHERE held_until IS NOT NULL), 0) AS held_qty
                   FROM order_lines
                   WHERE sku LIKE $1 || '%' GROUP BY sku, batch_number
               ) AS held ON held.sku = b.sku AND held.batch_number = b.number
               WHERE b.sku LIKE $1 || '%'
               AND (b.allocated_qty, b.allocated_lines, b.held_qty)
                   <> (coalesce(held.qty, 0), coalesce(held.lines, 0), coalesce(held.held_qty, 0))""",
            sku_prefix,
        )
    )


def wait_until_published(stack: Stack) -> None:
    """Wait until the outbox is empty."""
    deadline = time.monotonic() + PUBLISH_SECONDS
    while stack.value_of("SELECT count(*) FROM outbox"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def metric(port: int, series: str) -> float:
    """The value of a series that a process exposes; 0 if it does not have it. Raises OSError."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = (line.rpartition(" ") for line in answer.read().decode().splitlines())
    return next((float(value) for name, _, value in lines if name == series), 0.0)


def empty_outbox(stack: Stack) -> None:
    """Delete all events, so that the next scenario starts like this one."""
    asyncio.run(stack.execute("TRUNCATE outbox, events"))
