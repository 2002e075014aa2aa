"""The load of the whole product: wrk where it is installed, otherwise the benchmark's own client.

The load shares the cores with the product, so it should cost little, and its processor time is part of the figures.
"""

import json
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.scenarios.steps import run_load
from bench.stack import Stack

NAME = "wrk" if shutil.which("wrk") else "bench.load"
_SCRIPT = Path(__file__).with_name("requests.lua")


@dataclass(frozen=True)
class Load:
    """Orders of one line: the prefix of their ids, that of the SKUs, and the number of SKUs."""

    order_prefix: str
    sku_prefix: str
    skus: int


@dataclass(frozen=True)
class Sent:
    """Counts of answers and of those that are not 2xx, answers per second, and the generator's processor time."""

    answered: float
    failed: float
    rate: float
    p99_ms: float
    processor_seconds: float


def post(stack: Stack, port: int, load: Load, *, connections: int, seconds: float) -> Sent:
    """Send the load over the connections, each of which has one request in flight."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = _wrk(port, load, connections, seconds) if NAME == "wrk" else _own(stack, port, load, connections, seconds)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sent(found["answered"], found["failed"], found["answered"] / found["seconds"], found["p99_ms"], used)


def _wrk(port: int, load: Load, connections: int, seconds: float) -> dict[str, float]:
    # wrk takes whole seconds only.
    command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={max(1, round(seconds))}s"]
    command += [f"--script={_SCRIPT}", f"http://127.0.0.1:{port}/", "--"]
    command += [load.order_prefix, load.sku_prefix, str(load.skus)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.rpartition("JSON ")[2])
    return found


def _own(stack: Stack, port: int, load: Load, connections: int, seconds: float) -> dict[str, float]:
    spec = {"order_prefix": load.order_prefix, "sku_prefix": load.sku_prefix, "skus": load.skus}
    found = run_load(stack, port, run={"connections": connections, "seconds": seconds}, post=spec)
    answered = sum(found["statuses"].values())
    return {
        "answered": answered,
        "failed": answered - found["statuses"].get("201", 0),
        "seconds": answered / found["rate"],
        "p99_ms": found["p99_ms"],
    }
