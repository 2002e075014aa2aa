"""HTTP: at its highest rate, at half and twice that rate, and in two processes."""

import time
from typing import Any

from bench.plan import Plan
from bench.report import Row
from bench.scenarios.steps import CONNECTIONS, MANY, drifted, empty_outbox, lines_of, run_bus, run_load
from bench.stack import Stack, running_server

FLOOD_CONNECTIONS = 8000
"""Just below the limit of a process, which refuses further connections."""


def http_against_noop(stack: Stack, plan: Plan) -> list[Row]:
    """POST and GET over routes that do nothing, and a hot SKU over many."""
    post = Row("POST /v1/allocations, 64 connections, 1,000 SKUs", "over the no-op route", [], at_least=0.6)
    hot = Row("the same on one hot SKU", "over the same on 1,000 SKUs", [], at_least=1.0)
    get = Row("GET /v1/allocations/{order_id}", "over a no-op GET", [], at_least=0.8)
    closed = {"connections": CONNECTIONS, "seconds": plan.seconds}
    with running_server(stack, "app", "serve") as port, running_server(stack, "bench.noop") as noop:
        for number in range(plan.rounds):
            plan.say(f"HTTP, round {number + 1}")
            many, one = f"http-{number}-", f"hot-{number}-"
            run_bus(stack, do="create_batches", sku_prefix=many, skus=MANY)
            run_bus(stack, do="create_batches", sku_prefix=one, skus=1)
            floor = run_load(stack, noop, run=closed, post={"order_prefix": "n", "sku_prefix": many, "skus": MANY})
            spread = run_load(
                stack, port, run=closed, post={"order_prefix": f"o{many}x", "sku_prefix": many, "skus": MANY}
            )
            single = run_load(stack, port, run=closed, post={"order_prefix": f"o{one}x", "sku_prefix": one, "skus": 1})
            for row, load, prefix in ((post, spread, many), (hot, single, one)):
                answered = sum(load["statuses"].values())
                plan.check(row.scenario, {"201": answered}, load["statuses"])
                plan.check(row.scenario, answered, lines_of(stack, f"o{prefix}x"))
                plan.check(row.scenario, 0, drifted(stack, prefix))
            post.ratios.append(spread["rate"] / floor["rate"])
            post.figures = {"POST/s": spread["rate"], "no-op/s": floor["rate"], "p99 ms": spread["p99_ms"]}
            hot.ratios.append(single["rate"] / spread["rate"])
            hot.figures = {"POST/s": single["rate"], "p99 ms": single["p99_ms"]}
            orders = {"order_prefix": f"o{many}x", "orders": min(10_000, sum(spread["statuses"].values()))}
            noop_get = run_load(stack, noop, run=closed, get=orders)
            own_get = run_load(stack, port, run=closed, get=orders)
            plan.check(get.scenario, ["200"], list(own_get["statuses"]))
            get.ratios.append(own_get["rate"] / noop_get["rate"])
            get.figures = {"GET/s": own_get["rate"], "no-op/s": noop_get["rate"]}
            empty_outbox(stack)
    return [post, hot, get]


def latency_and_overload(stack: Stack, plan: Plan) -> list[Row]:
    """Latency at half of the highest rate; shedding at twice the highest rate, and the recovery from it."""
    prefix = "open-"
    run_bus(stack, do="create_batches", sku_prefix=prefix, skus=MANY)
    latency = Row("latency at half of the highest rate", "p99 over p50", [], at_most=5.0)
    overload = Row("open loop at twice the highest rate", "accepted over highest rate", [])
    recovery = Row("latency one second later", "p99 over that before", [])
    with running_server(stack, "app", "serve") as port:

        def post(tag: str) -> dict[str, Any]:
            return {"order_prefix": f"o{prefix}{tag}", "sku_prefix": prefix, "skus": MANY}

        closed = {"connections": CONNECTIONS, "seconds": plan.seconds}
        highest = run_load(stack, port, run=closed, post=post("warm"))["rate"]
        stack.checkpoint()
        for number in range(plan.rounds):
            plan.say(f"open loop, round {number + 1}")
            half = {"rate": highest / 2, "seconds": plan.seconds, "connections": CONNECTIONS}
            before = run_load(stack, port, run=half, post=post(f"half{number}"))
            plan.check(latency.scenario, ["201"], list(before["statuses"]))
            latency.ratios.append(before["p99_ms"] / before["p50_ms"])
            latency.figures = {"p50 ms": before["p50_ms"], "p99 ms": before["p99_ms"], "offered/s": highest / 2}
            twice = {"rate": highest * 2, "seconds": plan.seconds, "connections": FLOOD_CONNECTIONS}
            flood = run_load(stack, port, run=twice, post=post(f"flood{number}"))
            accepted = flood["statuses"].get("201", 0)
            plan.check(overload.scenario, [], [status for status in flood["statuses"] if status not in {"201", "503"}])
            plan.check(overload.scenario, accepted, lines_of(stack, f"o{prefix}flood{number}"))
            overload.ratios.append(accepted / plan.seconds / highest)
            overload.figures = {"p99 ms of the accepted": flood["p99_ms"], **flood["statuses"]}
            time.sleep(1)
            after = run_load(stack, port, run=half, post=post(f"after{number}"))
            plan.check(recovery.scenario, ["201"], list(after["statuses"]))
            recovery.ratios.append(after["p99_ms"] / before["p99_ms"])
            empty_outbox(stack)
    return [latency, overload, recovery]


def two_workers(stack: Stack, plan: Plan) -> list[Row]:
    """Two processes behind one port over one."""
    row = Row("POST, 1,000 SKUs, 2 workers", "over one worker", [])
    for number in range(min(2, plan.rounds)):
        plan.say(f"two workers, round {number + 1}")
        rates = []
        for workers in (1, 2):
            prefix = f"workers-{number}-{workers}-"
            run_bus(stack, do="create_batches", sku_prefix=prefix, skus=MANY)
            with running_server(stack, "app", "serve", "--workers", str(workers)) as port:
                post = {"order_prefix": f"o{prefix}x", "sku_prefix": prefix, "skus": MANY}
                load = run_load(stack, port, run={"connections": CONNECTIONS, "seconds": plan.seconds}, post=post)
            answered = sum(load["statuses"].values())
            plan.check(row.scenario, {"201": answered}, load["statuses"])
            plan.check(row.scenario, answered, lines_of(stack, f"o{prefix}x"))
            plan.check(row.scenario, 0, drifted(stack, prefix))
            rates.append(load["rate"])
            row.figures[f"{workers} workers POST/s"] = load["rate"]
        row.ratios.append(rates[1] / rates[0])
        empty_outbox(stack)
    return [row]
