"""An HTTP load generator with little overhead: raw HTTP/1.1 over asyncio protocols, closed loop or open loop.

It runs in a process of its own, `python -m bench.load SPEC`, prints JSON, and connects to 127.0.0.1 only.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

HOST = "127.0.0.1"
DRAIN_SECONDS = 12.0


@dataclass
class Result:
    """Responses by status, their latencies in seconds, and the duration of the run."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    processor_seconds: float = 0.0

    def summary(self) -> dict[str, Any]:
        """The figures of a run; latencies in milliseconds, and of accepted requests only."""
        ordered = sorted(self.latencies)
        return {
            "rate": sum(self.statuses.values()) / self.seconds,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "p50_ms": 1000 * _quantile(ordered, 0.50),
            "p99_ms": 1000 * _quantile(ordered, 0.99),
            "processor_seconds": self.processor_seconds,
        }


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


class Connection(asyncio.Protocol):
    """A connection with at most one request in flight."""

    def __init__(self, on_answer: Callable[["Connection", int], None]) -> None:
        """`on_answer` receives the status; 0 if the server closed the connection during a request."""
        self._on_answer = on_answer
        self._under_way = False
        self._buffer = b""
        self.is_open = True
        self._transport: asyncio.Transport
        self.started = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport. uvloop's transports do not derive from asyncio's classes."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, started: float) -> None:
        """Send a request that counts from `started`."""
        self.started = started
        self._under_way = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Buffer the bytes; call `on_answer` when the response is complete."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lowered = head.lower()
        at = lowered.find(b"content-length:")
        length = int(lowered[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        self._under_way = False
        self._on_answer(self, int(head[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        """Mark the connection as closed; a request in flight counts as status 0."""
        self.is_open = False
        if self._under_way:
            self._under_way = False
            self._on_answer(self, 0)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


async def _connect(port: int, on_answer: Callable[[Connection, int], None]) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(lambda: Connection(on_answer), HOST, port)
    return connection


async def closed_loop(port: int, requests: Iterator[bytes], *, connections: int, seconds: float) -> Result:
    """Each connection sends its next request after the response to the last one."""
    result = Result()
    finished = asyncio.Event()
    clock = time.perf_counter
    started = clock()
    open_requests = 0

    def send_next(connection: Connection) -> None:
        nonlocal open_requests
        open_requests += 1
        connection.send(next(requests), clock())

    def on_answer(connection: Connection, status: int) -> None:
        nonlocal open_requests
        open_requests -= 1
        now = clock()
        result.statuses[status] += 1
        result.latencies.append(now - connection.started)
        if connection.is_open and now - started < seconds:
            send_next(connection)
        elif not open_requests:
            finished.set()

    pool = [await _connect(port, on_answer) for _ in range(connections)]
    started, before = clock(), time.process_time()
    for connection in pool:
        send_next(connection)
    async with asyncio.timeout(seconds + DRAIN_SECONDS):
        await finished.wait()
    result.seconds, result.processor_seconds = clock() - started, time.process_time() - before
    for connection in pool:
        connection.close()
    return result


async def open_loop(port: int, requests: Iterator[bytes], *, rate: float, seconds: float, connections: int) -> Result:
    """Requests are due at a fixed rate, independent of the server; latencies count from the time they were due."""
    result = Result()
    clock = time.perf_counter
    idle: deque[Connection] = deque()
    due: deque[float] = deque()
    under_way = 0

    def on_answer(connection: Connection, status: int) -> None:
        nonlocal under_way
        under_way -= 1
        result.statuses[status] += 1
        if 200 <= status < 300:
            result.latencies.append(clock() - connection.started)
        idle.append(connection)
        send_due()

    def send_due() -> None:
        nonlocal under_way
        while due and idle:
            connection = idle.popleft()
            if connection.is_open:
                under_way += 1
                connection.send(next(requests), due.popleft())

    pool = [await _connect(port, on_answer) for _ in range(connections)]
    idle.extend(pool)
    total = int(rate * seconds)
    started = clock()
    sent = 0
    while sent < total:
        arrived = min(total, int((clock() - started) * rate))
        due.extend(started + number / rate for number in range(sent, arrived))
        sent = max(sent, arrived)
        send_due()
        await asyncio.sleep(0.001)
    deadline = clock() + DRAIN_SECONDS
    while (due or under_way) and clock() < deadline:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    result.seconds = clock() - started
    if due or under_way:
        result.statuses[0] += len(due) + under_way
    for connection in pool:
        connection.close()
    return result


def _heads(credentials: Sequence[str]) -> Iterator[str]:
    """The headers of requests: with each of these credentials in turn, or without any."""
    host = "Host: 127.0.0.1\r\n"
    return itertools.cycle([f"{host}Authorization: Bearer {each}\r\n" for each in credentials] or [host])


def post_allocations(order_prefix: str, sku_prefix: str, skus: int, credentials: Sequence[str] = ()) -> Iterator[bytes]:
    """Requests for one piece each, each with a new order id, cycling over the SKUs."""
    for number, head in enumerate(_heads(credentials)):
        body = (
            f'{{"order_id":"{order_prefix}-{number}","sku":"{sku_prefix}{number % skus}",'
            '"qty":1,"if_unavailable":"reject"}'
        )
        yield (
            f"POST /v1/allocations HTTP/1.1\r\n{head}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


def post_orders(order_prefix: str, sku_prefix: str, skus: int, lines: int) -> Iterator[bytes]:
    """Requests for orders of `lines` lines, one piece each; each order has other SKUs than the one before."""
    for number in itertools.count():
        wanted = ",".join(f'{{"sku":"{sku_prefix}{(number * lines + line) % skus}","qty":1}}' for line in range(lines))
        body = f'{{"order_id":"{order_prefix}-{number}","lines":[{wanted}],"if_unavailable":"reject"}}'
        yield (
            "POST /v1/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


def get_allocations(order_prefix: str, orders: int, credentials: Sequence[str] = ()) -> Iterator[bytes]:
    """Requests for the orders, in turn."""
    for number, head in enumerate(_heads(credentials)):
        yield f"GET /v1/allocations/{order_prefix}-{number % orders} HTTP/1.1\r\n{head}\r\n".encode()


def main() -> None:
    """Run the load that the JSON in the first argument describes."""
    spec = json.loads(sys.argv[1])
    kinds: dict[str, Callable[..., Iterator[bytes]]] = {
        "get": get_allocations,
        "post": post_allocations,
        "orders": post_orders,
    }
    (requests,) = (make(**spec[kind]) for kind, make in kinds.items() if kind in spec)
    loop = open_loop if "rate" in spec["run"] else closed_loop
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(loop(spec["port"], requests, **spec["run"]))
    sys.stdout.write(json.dumps(result.summary()))


if __name__ == "__main__":
    main()
