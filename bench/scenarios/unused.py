"""What a POST pays for features that are part of every request and that this installation does not use."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request

from app.entrypoints.http.context import cause_of_headers
from app.entrypoints.http.headers import named_headers
from app.entrypoints.http.idempotent_write import key_of
from app.entrypoints.http.identity import Gate
from app.observability import tracing
from bench import generator
from bench.generator import Load
from bench.plan import Plan
from bench.processor import processor_time
from bench.report import Row
from bench.scenarios.steps import CONNECTIONS, MANY, empty_outbox, run_bus
from bench.stack import Stack, server_process

CALLS = 20_000
REPEATS = 7

HEADERS = [(b"host", b"127.0.0.1:8000"), (b"content-type", b"application/json"), (b"content-length", b"80")]

Step = Callable[[], Awaitable[None]]


def unused_features(stack: Stack, plan: Plan) -> list[Row]:
    """Processor time of their calls in a POST, with default settings, in percent of the whole POST with `serve`."""
    row = Row("features that are not used, processor time", "percent of a POST", [], at_most=2.0)
    for number in range(plan.rounds):
        plan.say(f"features that are not used, round {number + 1}")
        prefix = f"unused-{number}-"
        run_bus(stack, do="create_batches", sku_prefix=prefix, skus=MANY)
        with server_process(stack, "app", "serve", ready="/readyz") as server, processor_time(post=server.pid) as used:
            load = Load(f"o{prefix}", prefix, MANY)
            sent = generator.post(stack, server.port, load, connections=CONNECTIONS, seconds=plan.seconds)
        post_micros = 1e6 * used["post"] / sent.answered
        micros = asyncio.run(_costs())
        row.ratios.append(100 * sum(micros.values()) / post_micros)
        row.figures = {"POST µs": post_micros} | {f"{name} µs": value for name, value in micros.items()}
        empty_outbox(stack)
    return [row]


async def _costs() -> dict[str, float]:
    """The processor time of each feature in a POST that does not use it, in microseconds."""
    nothing = await _micros(_nothing)
    return {name: max(0.0, await _micros(step) - nothing) for name, step in _steps().items()}


async def _micros(step: Step) -> float:
    """The processor time of the step in microseconds: the least of several measurements."""
    least = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(CALLS):
            await step()
        least = min(least, time.process_time() - began)
    return 1e6 * least / CALLS


async def _nothing() -> None:
    """The cost of measuring."""


def _steps() -> dict[str, Step]:
    """What `RequestContext`, `ServiceRoute`, `write`, the bus and the relay call in a POST for each feature."""
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/v1/allocations", "headers": HEADERS}
    scope["state"] = {"headers_by_name": dict(HEADERS), "cause": cause_of_headers(dict(HEADERS))}
    request, gate = Request(scope), Gate(None, None)

    async def spans() -> None:
        tracing.records(None)  # in the request
        with tracing.unit_of_work(()):  # in the bus, for a whole group
            pass
        tracing.is_on()  # in the relay, for a whole round

    async def identity_and_access() -> None:
        await gate.admit(scope, "orders:write", 8.0)

    async def key_look_up() -> None:
        key_of(request)  # in the route, so that a malformed key is always refused
        key_of(request)  # in `write`

    async def conditions() -> None:
        b"if-match" in named_headers(scope)  # noqa: B015 - its cost is what is measured

    return {
        "spans": spans,
        "identity and access": identity_and_access,
        "key look-up": key_look_up,
        "conditions": conditions,
    }
