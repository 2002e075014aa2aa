"""Orders of several lines beside single lines: what it costs that products are locked and answered together."""

import json

from bench.report import Row
from bench.scenarios import CONNECTIONS, MANY, Plan, empty_outbox
from bench.stack import Stack, run_json, running_server

LINES = 5


def orders_of_lines(stack: Stack, plan: Plan) -> list[Row]:
    """Lines per second in orders of five, over those of single requests."""
    row = Row(f"POST /v1/orders of {LINES} lines, 64 connections, 1,000 SKUs", "lines/s over single lines", [])
    closed = {"connections": CONNECTIONS, "seconds": plan.seconds}
    with running_server(stack, "app", "serve") as port:
        for number in range(plan.rounds):
            plan.say(f"orders of {LINES} lines, round {number + 1}")
            prefix = f"orders-{number}-"
            run_json(stack, "bench.bus", json.dumps({"do": "create", "sku_prefix": prefix, "skus": MANY}))
            target = {"sku_prefix": prefix, "skus": MANY}
            single = {"port": port, "run": closed, "post": {"order_prefix": f"s{prefix}", **target}}
            several = {"port": port, "run": closed, "orders": {"order_prefix": f"m{prefix}", "lines": LINES, **target}}
            lines = run_json(stack, "bench.load", json.dumps(single))
            orders = run_json(stack, "bench.load", json.dumps(several))
            answered = sum(orders["statuses"].values())
            plan.check(row.scenario, {"201": answered}, orders["statuses"])
            kept = stack.value_of("SELECT count(*) FROM order_lines WHERE order_id LIKE $1 || '%'", f"m{prefix}")
            plan.check(row.scenario, LINES * answered, kept)
            row.ratios.append(LINES * orders["rate"] / lines["rate"])
            row.figures = {"orders/s": orders["rate"], "lines/s": lines["rate"], "p99 ms": orders["p99_ms"]}
            empty_outbox(stack)
    return [row]
