"""The processor time of parts of the service, in a process of its own.

`python -m bench.parts PID` prints JSON; the process id is that of PostgreSQL. Other work on the machine changes the
processor time less than the time on the clock, and the least of many short measurements still less.
"""

import asyncio
import gc
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvloop
from fastapi import FastAPI

from app.bootstrap import Service, bootstrap
from app.domain.commands import Allocate, Command, PlaceOrder
from app.entrypoints.server import http_application
from app.service_layer.requests import Request
from app.settings import Settings
from bench import noop
from bench.bus import CAUSE, create_batches, rate
from bench.processor import children_of

WINDOW, WINDOWS = 0.1, 15
"""Seconds of a measurement, and how many of them there are. The least one counts: it had the quietest neighbours."""

CALLS, REPEATS = 300, 15
MANY, ONE = ("parts-", 1000), ("parts-hot-", 1)


@dataclass(frozen=True)
class Group:
    """Commands that the bus runs as one group: single lines, or orders of this number of lines."""

    size: int
    lines: int = 0
    skus: tuple[str, int] = MANY

    def commands(self) -> Iterator[Command]:
        """Commands without an end, each with a new order id, cycling over the SKUs."""
        prefix, skus = self.skus
        for number in itertools.count():
            order = f"p{time.monotonic_ns()}"
            if not self.lines:
                yield Allocate(order_id=order, sku=f"{prefix}{number % skus}", qty=1)
                continue
            wanted: Any = [
                {"sku": f"{prefix}{(number * self.lines + line) % skus}", "qty": 1} for line in range(self.lines)
            ]
            yield PlaceOrder(order_id=order, lines=wanted, if_unavailable="reject")


GROUPS = {
    "lone": Group(1),
    "of 18": Group(18),
    "of 100": Group(100),
    "of 100 on one SKU": Group(100, skus=ONE),
    "of 18 orders of 1": Group(18, 1),
    "of 18 orders of 10": Group(18, 10),
}


async def groups(service: Service, group: Group, database: int) -> tuple[float, float]:
    """The processor time of a group in Python and in PostgreSQL, in microseconds, one group after the other."""
    commands = group.commands()
    python, postgresql = [], []
    for _ in range(WINDOWS):
        count, used, began, before = 0, 0.0, time.perf_counter(), _sessions(database)
        while not count or time.perf_counter() - began < WINDOW:
            requests = [Request(next(commands), CAUSE) for _ in range(group.size)]
            started = time.process_time()
            outcomes = await service.bus.handle_group(requests)
            used += time.process_time() - started
            count += 1
            for outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
        python.append(1e6 * used / count)
        postgresql.append(1e6 * _since(before, database) / count)
    return min(python), min(postgresql)


async def under_way(service: Service, skus: tuple[str, int], database: int) -> tuple[float, float]:
    """The processor time of a command in Python and in PostgreSQL with 256 commands under way, in microseconds."""
    commands = Group(1, skus=skus).commands()
    python, postgresql = [], []
    for _ in range(WINDOWS):
        before, started = _sessions(database), time.process_time()
        done = (await rate(service, commands, 256, 2 * WINDOW))["done"]
        python.append(1e6 * (time.process_time() - started) / done)
        postgresql.append(1e6 * _since(before, database) / done)
    return min(python), min(postgresql)


def _sessions(database: int) -> dict[int, float]:
    """The processor time of each process of PostgreSQL, in seconds."""
    files = {each: Path(f"/proc/{each}/schedstat") for each in (database, *children_of(database))}
    return {each: int(file.read_text().split()[0]) / 1e9 for each, file in files.items()}


def _since(before: dict[int, float], database: int) -> float:
    """The processor time since then, without that of processes that have ended."""
    return sum(used - before.get(each, 0.0) for each, used in _sessions(database).items())


async def routes(service: Service, app: FastAPI, lines: int) -> float:
    """The processor time of a POST without the bus and without sockets, in microseconds; an order if it has lines."""
    path = "/v1/orders" if lines else "/v1/allocations"
    answer: Any = None
    handle = service.bus.handle

    async def keep(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as the bus
        nonlocal answer
        answer = await handle(*arguments, **options)
        return answer

    async def repeat(*_: Any, **__: Any) -> Any:  # noqa: ANN401 - as the bus
        return answer

    with patch.object(service.bus, "handle", keep):
        await _call(app, path, _body(lines))
    with patch.object(service.bus, "handle", repeat):
        return await _least(app, path, lines)


async def _least(app: FastAPI, path: str, lines: int) -> float:
    least = float("inf")
    for _ in range(REPEATS):
        bodies = [_body(lines) for _ in range(CALLS)]
        started = time.process_time()
        for body in bodies:
            await _call(app, path, body)
        least = min(least, time.process_time() - started)
    return 1e6 * least / CALLS


def _body(lines: int) -> bytes:
    wanted = [{"sku": f"{MANY[0]}{line}", "qty": 1} for line in range(max(lines, 1))]
    order: dict[str, Any] = {"order_id": f"h{time.monotonic_ns()}", "if_unavailable": "reject"}
    return json.dumps(order | ({"lines": wanted} if lines else wanted[0]), separators=(",", ":")).encode()


async def _call(app: FastAPI, path: str, body: bytes) -> None:
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "root_path": ""}
    scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers, "state": {}}
    scope |= {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000)}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:  # noqa: ANN401 - as ASGI
        if message.get("status", 201) != 201:
            text = f"{path} answered {message['status']}"
            raise RuntimeError(text)

    await app(scope, receive, send)


async def only_no_op() -> dict[str, float]:
    """The no-op route, in microseconds."""
    gc.freeze()
    return {"no-op route": await _least(noop.app, "/v1/allocations", 0)}


async def run(database: int) -> dict[str, float]:
    """All parts, in microseconds."""
    found: dict[str, float] = {}
    async with bootstrap(Settings()) as service:
        app = http_application(service)
        async with service.bus:
            for prefix, skus in (MANY, ONE):
                await create_batches(service, prefix, skus)
            # As the service does when it has started.
            gc.collect()
            gc.freeze()
            found["no-op route"] = await _least(noop.app, "/v1/allocations", 0)
            for name, lines in (("a line", 0), ("an order of 1", 1), ("an order of 10", 10)):
                found[f"route of {name}"] = await routes(service, app, lines)
            for name, group in GROUPS.items():
                found[f"group {name}, Python"], found[f"group {name}, PostgreSQL"] = await groups(
                    service, group, database
                )
            for name, skus_of in (("1,000 SKUs", MANY), ("one SKU", ONE)):
                found[f"256 under way, {name}, Python"], found[f"256 under way, {name}, PostgreSQL"] = await under_way(
                    service, skus_of, database
                )
    return found


def main(arguments: Sequence[str], write: Callable[[str], object]) -> None:
    """Measure beside the PostgreSQL with this process id."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        write(json.dumps(runner.run(only_no_op() if arguments == ["no-op"] else run(int(arguments[0])))))


if __name__ == "__main__":
    main(sys.argv[1:], sys.stdout.write)
