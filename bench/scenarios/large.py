"""Large requests: one that moves many lines, and the callers beside it."""

import json
import threading
import time
import urllib.request
from typing import Any

from bench.plan import Plan
from bench.report import Row
from bench.scenarios.steps import CONNECTIONS, drifted, empty_outbox, run_bus, run_load
from bench.stack import Stack, running_server

LINES = 100_000
SKUS_BESIDE = 10
PER_SECOND = 50
"""Requests of the callers beside, on SKUs of their own."""

SECONDS = 8
"""Shorter than one of the requests takes."""

TIMEOUT = 120.0


def large_requests(stack: Stack, plan: Plan) -> list[Row]:
    """The latency of POST while one batch serves many waiting lines, and while a cut releases as many."""
    rows = [
        Row(f"POST while a batch serves {LINES:,} waiting lines", "p99 over that before", [], at_most=3.0),
        Row(f"POST while a cut releases {LINES:,} lines", "p99 over that before", [], at_most=3.0),
    ]
    with running_server(stack, "app", "serve") as port:
        for number in range(plan.rounds):
            plan.say(f"large requests, round {number + 1}")
            sku, beside = f"large-{number}", f"beside-{number}-"
            run_bus(stack, do="create_batches", sku_prefix=beside, skus=SKUS_BESIDE)
            # The first line takes the only piece; the others wait.
            _send(port, "POST", "/v1/batches", {"ref": f"{sku}-first", "sku": sku, "qty": 1})
            run_bus(stack, do="place", sku=sku, lines=LINES + 1, is_held=False)
            requests: list[tuple[str, str, dict[str, Any]]] = [
                ("POST", "/v1/batches", {"ref": f"{sku}-b", "sku": sku, "qty": LINES}),
                ("PATCH", f"/v1/batches/{sku}-b", {"qty": 0}),
            ]
            for row, request in zip(rows, requests, strict=True):
                _compare(stack, plan, port, row, beside, request)
            plan.check(sku, 0, drifted(stack, sku))
            plan.check(sku, LINES, _waiting(stack, sku))
            empty_outbox(stack)
    return rows


def _compare(
    stack: Stack, plan: Plan, port: int, row: Row, beside: str, request: tuple[str, str, dict[str, Any]]
) -> None:
    tag = f"o{beside}{len(row.ratios)}{request[0]}"
    load = {"connections": CONNECTIONS, "rate": PER_SECOND, "seconds": SECONDS}

    def post(part: str) -> dict[str, Any]:
        return {"order_prefix": f"{tag}{part}", "sku_prefix": beside, "skus": SKUS_BESIDE}

    before = run_load(stack, port, run=load, post=post("before"))
    took: list[float] = []

    def send() -> None:
        started = time.perf_counter()
        _send(port, *request)
        took.append(time.perf_counter() - started)

    sender = threading.Thread(target=send)
    sender.start()
    during = run_load(stack, port, run=load, post=post("during"))
    sender.join()
    plan.check(row.scenario, ["201"], list(during["statuses"]))
    plan.check(row.scenario, 1, len(took))
    row.ratios.append(during["p99_ms"] / before["p99_ms"])
    row.figures = {"p99 ms": during["p99_ms"], "p99 ms before": before["p99_ms"], "seconds": took[0]}


def _send(port: int, method: str, path: str, body: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json"}
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310 - this machine
        pass


def _waiting(stack: Stack, sku: str) -> int:
    return int(stack.value_of("SELECT backordered_qty FROM products WHERE sku = $1", sku))
