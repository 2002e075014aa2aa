"""The whole product: `allocation run --workers 1` with everything on, from the first request to the last event."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench import floors, generator
from bench.generator import Load, Sent
from bench.plan import Plan
from bench.processor import processor_time
from bench.report import Row
from bench.scenarios.steps import CONNECTIONS, MANY, drifted, empty_outbox, lines_of, run_bus, wait_until_published
from bench.stack import Server, Stack, server_process


@dataclass(frozen=True)
class Measured:
    """Lines per second from the first request to the last event, and the processor time for a line, in microseconds."""

    rate: float
    sent: Sent
    micros: dict[str, float]


def whole_product(stack: Stack, plan: Plan) -> list[Row]:
    """The rate and the processor time of the whole product, over a route that does nothing and over SQL."""
    many = Row("whole product, 1,000 SKUs, to the last event", "lines/s over the no-op route", [], at_least=0.6)
    hot = Row("the same on one hot SKU", "over the same on 1,000 SKUs", [], at_least=1.0)
    service = Row("processor time of the service per line", "over the no-op route", [], at_most=1.6)
    database = Row("processor time of PostgreSQL per line", "over the SQL baseline", [], at_most=0.22)
    lone = Row("a lone POST", "latency over a lone SQL transaction", [], at_most=2.0)
    for number in range(plan.rounds):
        plan.say(f"whole product, round {number + 1}")
        with server_process(stack, "bench.noop") as server, processor_time(noop=server.pid) as used:
            noop = _post(stack, plan, server, Load("n", "n", MANY))
        noop_micros = 1e6 * used["noop"] / noop.answered
        sql_micros, lone_sql = _sql(stack, plan, number)
        with server_process(stack, "app", "run", "--workers", "1", ready="/readyz") as server:
            spread = _measure(stack, plan, server, f"product-{number}-", MANY, many)
            single = _measure(stack, plan, server, f"product-hot-{number}-", 1, hot)
            alone = _post(stack, plan, server, Load(f"oalone-{number}", f"product-{number}-", MANY), connections=1)
        many.ratios.append(spread.rate / noop.rate)
        many.figures = {
            "load by": generator.NAME,
            "lines/s": spread.rate,
            "answers/s": spread.sent.rate,
            "no-op/s": noop.rate,
        } | {f"{name} µs": value for name, value in spread.micros.items()}
        many.figures["p99 ms"] = spread.sent.p99_ms
        hot.ratios.append(single.rate / spread.rate)
        hot.figures = {"lines/s": single.rate} | {f"{name} µs": value for name, value in single.micros.items()}
        service.ratios.append(spread.micros["service"] / noop_micros)
        service.figures = {"service µs": spread.micros["service"], "no-op µs": noop_micros}
        database.ratios.append(spread.micros["PostgreSQL"] / sql_micros)
        database.figures = {"PostgreSQL µs": spread.micros["PostgreSQL"], "SQL µs": sql_micros}
        lone.ratios.append(lone_sql / alone.rate)
        lone.figures = {"POST ms": 1000 / alone.rate, "SQL ms": 1000 / lone_sql}
        empty_outbox(stack)
    return [many, hot, service, database, lone]


def _sql(stack: Stack, plan: Plan, number: int) -> tuple[float, float]:
    """PostgreSQL's processor time for a transaction of the SQL baseline, and transactions/s of one client."""
    prefix = f"product-sql-{number}-"
    run_bus(stack, do="create_batches", sku_prefix=prefix, skus=MANY)
    with processor_time(sql=stack.database_pid) as used:
        rate = floors.sql_rate(stack, prefix, MANY, plan.seconds)
    lone = floors.sql_rate(stack, prefix, MANY, plan.seconds, clients=1)
    empty_outbox(stack)
    return 1e6 * used["sql"] / (rate * plan.seconds), lone


def _post(stack: Stack, plan: Plan, server: Server, load: Load, connections: int = CONNECTIONS) -> Sent:
    return generator.post(stack, server.port, load, connections=connections, seconds=plan.seconds)


def _measure(stack: Stack, plan: Plan, server: Server, prefix: str, skus: int, row: Row) -> Measured:
    run_bus(stack, do="create_batches", sku_prefix=prefix, skus=skus)
    wait_until_published(stack)
    stack.checkpoint()
    pids = {"service": server.pid, "PostgreSQL": stack.database_pid, "broker": stack.broker_pid}
    with _reader(stack, prefix) as reader, processor_time(**pids) as used:
        started = time.time()
        sent = _post(stack, plan, server, Load(f"o{prefix}x", prefix, skus))
        # wrk leaves when its time is over, with requests in flight.
        lines = _settled_lines(stack, f"o{prefix}x")
        seen = reader(lines)
    plan.check(row.scenario, 0, sent.failed)
    plan.check(row.scenario, lines, min(max(lines, int(sent.answered)), int(sent.answered) + CONNECTIONS))
    plan.check(row.scenario, lines, seen["seen"])
    plan.check(row.scenario, 0, drifted(stack, prefix))
    used |= {"load": sent.processor_seconds, "reader": seen["processor_seconds"]}
    return Measured(lines / (seen["last"] - started), sent, {name: 1e6 * value / lines for name, value in used.items()})


def _settled_lines(stack: Stack, order_prefix: str) -> int:
    """The number of lines, once it no longer grows."""
    lines = -1
    while lines != (lines := lines_of(stack, order_prefix)):
        time.sleep(0.05)
    return lines


@contextmanager
def _reader(stack: Stack, prefix: str) -> Iterator[Any]:
    """A call that waits until the reader has seen this number of events of the SKUs, and returns its report."""
    command = [sys.executable, "-m", "bench.reader", stack.settings.kafka_events_topic, prefix]
    with subprocess.Popen(
        command, env=stack.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"

        def wait(events: int) -> Any:  # noqa: ANN401 - JSON
            process.stdin.write(f"{events}\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return json.loads(process.stdout.readline())  # type: ignore[union-attr]

        try:
            yield wait
        finally:
            process.stdin.close()
