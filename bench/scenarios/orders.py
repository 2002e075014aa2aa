"""Orders of several lines compared with single lines: the cost of locking their products together."""

from bench.plan import Plan
from bench.report import Row
from bench.scenarios.steps import CONNECTIONS, MANY, empty_outbox, run_bus, run_load
from bench.stack import Stack, running_server

LINES = 5


def orders_of_lines(stack: Stack, plan: Plan) -> list[Row]:
    """Lines per second in orders of five, over those of single requests."""
    row = Row(
        f"POST /v1/orders of {LINES} lines, 64 connections, 1,000 SKUs", "lines/s over single lines", [], at_least=2.0
    )
    closed = {"connections": CONNECTIONS, "seconds": plan.seconds}
    with running_server(stack, "app", "serve") as port:
        for number in range(plan.rounds):
            plan.say(f"orders of {LINES} lines, round {number + 1}")
            prefix = f"orders-{number}-"
            run_bus(stack, do="create_batches", sku_prefix=prefix, skus=MANY)
            target = {"sku_prefix": prefix, "skus": MANY}
            lines = run_load(stack, port, run=closed, post={"order_prefix": f"s{prefix}", **target})
            several = {"order_prefix": f"m{prefix}", "lines": LINES, **target}
            orders = run_load(stack, port, run=closed, orders=several)
            answered = sum(orders["statuses"].values())
            plan.check(row.scenario, {"201": answered}, orders["statuses"])
            kept = stack.value_of("SELECT count(*) FROM order_lines WHERE order_id LIKE $1 || '%'", f"m{prefix}")
            plan.check(row.scenario, LINES * answered, kept)
            row.ratios.append(LINES * orders["rate"] / lines["rate"])
            row.figures = {"orders/s": orders["rate"], "lines/s": lines["rate"], "p99 ms": orders["p99_ms"]}
            empty_outbox(stack)
    return [row]
