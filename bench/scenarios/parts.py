"""On request: the processor time of single steps, which the model of `make simulate` is fed with."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from bench import floors, generator
from bench.generator import Load
from bench.plan import Plan
from bench.processor import children_of, processor_seconds
from bench.report import Row
from bench.scenarios.steps import CONNECTIONS, MANY, empty_outbox, run_bus, run_load, wait_until_published
from bench.stack import Server, Stack, run_json, server_process

NO_OP = "no-op route with sockets"
FLUSHES = 2000
FLUSH_QUANTILES = (5, 15, 25, 35, 45, 55, 65, 75, 85, 95, 99)
PAGE = 8192
END_SECONDS = 0.2
BUSY = (
    "import json\nvalues = {str(n): list(range(20)) for n in range(2000)}\nwhile True: json.loads(json.dumps(values))"
)
"""The program of a busy neighbour."""


def parts(stack: Stack, plan: Plan) -> list[Row]:
    """Processor time of each step over that of the no-op route, and in microseconds the median of the rounds."""
    rounds: list[dict[str, float]] = []
    for number in range(plan.rounds):
        plan.say(f"parts, round {number + 1}")
        found = _product(stack, plan, number) | _sql(stack, plan, number) | _in_process(stack) | _neighbour(stack)
        rounds.append(found)
        empty_outbox(stack)
    return [
        Row(
            name,
            "over the no-op route",
            [each[name] / each[NO_OP] for each in rounds],
            figures={"µs": statistics.median(each[name] for each in rounds)},
        )
        for name in rounds[0]
    ]


def _in_process(stack: Stack) -> dict[str, float]:
    found: dict[str, float] = run_json(stack, "bench.parts", str(stack.database_pid))
    return found


def _neighbour(stack: Stack) -> dict[str, float]:
    """The no-op route in process beside a busy neighbour, and a flush of a page to the disk, on the clock."""
    with subprocess.Popen([sys.executable, "-c", BUSY]) as neighbour:
        try:
            beside = run_json(stack, "bench.parts", "no-op")["no-op route"]
        finally:
            neighbour.terminate()
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(PAGE * FLUSHES))
        os.fsync(file.fileno())
        flushes = []
        for number in range(FLUSHES):
            os.pwrite(file.fileno(), b"x" * PAGE, PAGE * number)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            flushes.append(1e6 * (time.perf_counter() - began))
    quantiles = statistics.quantiles(flushes, n=100)
    return {
        "no-op route beside a busy process": beside,
        "flush of a page, on the clock, mean": statistics.mean(flushes),
        **{f"the same, quantile {each}%": quantiles[each - 1] for each in FLUSH_QUANTILES},
    }


def _sql(stack: Stack, plan: Plan, number: int) -> dict[str, float]:
    """A transaction of the SQL baseline in PostgreSQL and in pgbench."""
    found = {}
    for skus in (MANY, 1):
        prefix = f"parts-sql-{skus}-{number}-"
        run_bus(stack, do="create_batches", sku_prefix=prefix, skus=skus)
        for clients in (1, floors.CLIENTS) if skus > 1 else (2, 8, floors.CLIENTS):
            name = f"SQL, {clients} on {skus} SKUs"
            before, client = processor_seconds(stack.database_pid), _of_children()
            rate = floors.sql_rate(stack, prefix, skus, plan.seconds, clients=clients)
            done = rate * plan.seconds
            # The time of a session counts once PostgreSQL has noticed its end.
            time.sleep(END_SECONDS)
            found[f"{name}, PostgreSQL"] = 1e6 * (processor_seconds(stack.database_pid) - before) / done
            found[f"{name}, pgbench"] = 1e6 * (_of_children() - client) / done
            found[f"{name}, on the clock"] = 1e6 / rate
    return found


def _product(stack: Stack, plan: Plan, number: int) -> dict[str, float]:
    """A POST in each process of the whole product, with one and with 64 connections, and a second without requests."""
    prefix = f"parts-product-{number}-"
    run_bus(stack, do="create_batches", sku_prefix=prefix, skus=MANY)
    with server_process(stack, "bench.noop") as server:
        before = processor_seconds(server.pid)
        answered = _post(stack, plan, server, "n", prefix, CONNECTIONS)
        found = {NO_OP: 1e6 * (processor_seconds(server.pid) - before) / answered}
        post = {"order_prefix": "n", "sku_prefix": prefix, "skus": MANY}
        load = run_load(stack, server.port, run={"connections": CONNECTIONS, "seconds": plan.seconds / 2}, post=post)
        found["a request of bench.load"] = 1e6 * load["processor_seconds"] / sum(load["statuses"].values())
    with server_process(stack, "app", "run", "--workers", "1", ready="/readyz") as server:
        wait_until_published(stack)
        (serving,) = children_of(server.pid)

        def used() -> dict[str, float]:
            serve = processor_seconds(serving)
            return {
                "HTTP and bus": serve,
                "relay and notifier": processor_seconds(server.pid) - serve,
                "PostgreSQL": processor_seconds(stack.database_pid),
                "broker": processor_seconds(stack.broker_pid),
                "on the clock": time.perf_counter(),
            }

        def use(what: str, work: Callable[[], float]) -> None:
            before, done = used(), work()
            found.update({f"{what}, {name}": 1e6 * (after - before[name]) / done for name, after in used().items()})

        def idle() -> float:
            time.sleep(plan.seconds)
            return plan.seconds

        use("a second without requests", idle)
        use("a lone POST", lambda: _post(stack, plan, server, f"oparts-lone-{number}", prefix, 1))
        use("a POST of 64", lambda: _post(stack, plan, server, f"oparts-{number}", prefix, CONNECTIONS))
    return found


def _post(stack: Stack, plan: Plan, server: Server, order_prefix: str, prefix: str, connections: int) -> float:
    load = Load(order_prefix, prefix, MANY)
    return generator.post(stack, server.port, load, connections=connections, seconds=plan.seconds).answered


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
