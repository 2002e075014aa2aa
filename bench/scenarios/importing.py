"""`allocation import` over the bus alone: the cost of reading, validating and reporting each row."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.plan import Plan
from bench.report import Row
from bench.scenarios.steps import IN_FLIGHT, MANY, empty_outbox, run_bus
from bench.stack import Stack

LIMIT_MB = 300


def import_of_order_lines(stack: Stack, plan: Plan) -> list[Row]:
    """A CSV of order lines over many SKUs, over the bus alone; and its peak memory."""
    speed = Row(f"import of {plan.import_rows:,} order lines, 1,000 SKUs", "over the bus alone", [], at_least=0.5)
    memory = Row("memory of that import", "MB, at its highest", [], at_most=LIMIT_MB)
    # One round is long enough to average out the noise.
    plan.say("import, and the bus alone")
    prefix = "import-"
    run_bus(stack, do="create_batches", sku_prefix=prefix, skus=MANY)
    commands = {"order_prefix": f"bus-{prefix}", "sku_prefix": prefix, "skus": MANY}
    bus = run_bus(stack, do="rate", commands=commands, in_flight=IN_FLIGHT, seconds=plan.seconds)["rate"]
    with tempfile.TemporaryDirectory(prefix="allocation-import-") as directory:
        file = Path(directory) / "orders.csv"
        _write_orders(file, prefix, plan.import_rows)
        rate, megabytes = _import(stack, file)
    query = "SELECT count(*) FROM order_lines WHERE order_id LIKE 'file-%'"
    plan.check(speed.scenario, plan.import_rows, stack.value_of(query))
    speed.ratios.append(rate / bus)
    speed.figures = {"rows/s": rate, "bus/s": bus}
    memory.ratios.append(megabytes)
    empty_outbox(stack)
    return [speed, memory]


def _write_orders(file: Path, prefix: str, rows: int) -> None:
    with file.open("w") as orders:
        orders.write("order_id,sku,qty\n")
        orders.writelines(f"file-{number},{prefix}{number % MANY},1\n" for number in range(rows))


def _import(stack: Stack, file: Path) -> tuple[float, float]:
    """Rows per second as the command reports them, and the peak memory of its process in megabytes."""
    log = file.with_suffix(".log")
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "import", str(file)], env=stack.environment(), stderr=output
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    output_text = log.read_text()
    found = re.search(r"rows in [0-9.]+ s \(([0-9,]+)/s\)", output_text)
    if process.returncode != 0 or found is None:
        raise RuntimeError(output_text)
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return float(found[1].replace(",", "")), usage.ru_maxrss * unit / 1_000_000
