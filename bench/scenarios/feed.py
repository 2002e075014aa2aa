"""The feed: POST beside many open streams."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from bench.plan import Plan
from bench.report import Row
from bench.scenarios.steps import CONNECTIONS, MANY, empty_outbox, metric, run_bus, run_load, wait_until_published
from bench.stack import Stack, run_json, running_process, running_server

STREAMS = 200
EVENTS_PER_SECOND = 5000
PUBLISH_SECONDS = 60.0


def post_beside_streams(stack: Stack, plan: Plan) -> list[Row]:
    """The rate of POST with 200 open streams, over that with none.

    The streams have a SKU each, as pages of products do, or all events, which makes 200 events of each line.
    """
    filtered = Row(f"POST with {STREAMS} open streams of a SKU each", "over none", [], at_least=0.9)
    complete = Row(f"POST with {STREAMS} open streams of all events", "over none", [])
    relay = [sys.executable, "-m", "app", "relay"]
    with running_process(stack, relay), running_server(stack, "app", "serve") as port:
        _wait_for_the_feed(port)
        for number in range(min(2, plan.rounds)):
            plan.say(f"streams, round {number + 1}")
            ways: list[tuple[str, int, Row]] = [
                ("none", 0, filtered),
                ("sku", STREAMS, filtered),
                ("all", STREAMS, complete),
            ]
            # Later loads meet more rows, so the order changes.
            ways = ways[number % 3 :] + ways[: number % 3]
            rates = {
                name: _post_beside(stack, plan, port, f"feed{name}-{number}-", streams, row)
                for name, streams, row in ways
            }
            for name, row in (("sku", filtered), ("all", complete)):
                row.ratios.append(rates[name] / rates["none"])
                row.figures = {"POST/s": rates[name], "POST/s with none": rates["none"]}
            empty_outbox(stack)
    return [filtered, complete]


def _post_beside(stack: Stack, plan: Plan, port: int, prefix: str, streams: int, row: Row) -> float:
    """Requests per second beside the streams. Each stream must have each event of its filter once."""
    run_bus(stack, do="create_batches", sku_prefix=prefix, skus=MANY)
    wait_until_published(stack)
    has_filter = row.at_least is not None
    with _streams(port, streams, prefix if has_filter else "") as counts:
        post = {"order_prefix": f"o{prefix}x", "sku_prefix": prefix, "skus": MANY}
        load = run_load(stack, port, run={"connections": CONNECTIONS, "seconds": plan.seconds}, post=post)
        wait_until_published(stack)
        time.sleep(1)
    answered = sum(load["statuses"].values())
    plan.check(row.scenario, {"201": answered}, load["statuses"])
    if streams:
        # The SKUs take turns, and the first ones have streams.
        turns, rest = divmod(answered, MANY)
        each = {"least": turns + (rest >= streams), "most": turns + (rest > 0)}
        plan.check(row.scenario, each if has_filter else {"least": answered, "most": answered}, _ends(counts))
    return float(load["rate"])


def streams_of_many_events(stack: Stack, plan: Plan) -> list[Row]:
    """The memory of a process that sends 5,000 events a second, each to the one of 200 streams that is filtered for it.

    Each stream must have all events of its SKU once and in order.
    """
    row = Row(f"{EVENTS_PER_SECOND:,} events/s over {STREAMS} streams", "memory over that before", [], at_most=1.5)
    for number in range(plan.rounds):
        plan.say(f"events, round {number + 1}")
        with running_server(stack, "app", "serve") as port:
            _wait_for_the_feed(port)
            prefix = f"events{number}-"
            with _streams(port, STREAMS, prefix) as counts:
                before = metric(port, "process_resident_memory_bytes")
                arguments = (prefix, str(STREAMS), str(EVENTS_PER_SECOND), str(max(10, plan.seconds)))
                sent = run_json(stack, "bench.publisher", *arguments)
                started = time.monotonic()
                while metric(port, "allocation_feed_lag_events"):
                    assert time.monotonic() - started < PUBLISH_SECONDS
                    time.sleep(0.1)
                behind = time.monotonic() - started
                # The lag is measured every two seconds, and readers are woken twice a second.
                time.sleep(3)
                after = metric(port, "process_resident_memory_bytes")
            each = sent["published"] // STREAMS
            plan.check(row.scenario, {"least": each, "most": each + (sent["published"] % STREAMS > 0)}, _ends(counts))
            plan.check(row.scenario, 0, counts["disordered"])
        row.ratios.append(after / before)
        row.figures = {"events/s": sent["published"] / sent["seconds"], "MB": after / 2**20, "seconds behind": behind}
    return [row]


def _ends(counts: dict[str, int]) -> dict[str, int]:
    return {name: counts[name] for name in ("least", "most")}


@contextmanager
def _streams(port: int, streams: int, prefix: str = "") -> Iterator[dict[str, int]]:
    """Open streams during the block; afterwards the dictionary has their smallest and largest number of events."""
    counts: dict[str, int] = {}
    if not streams:
        yield counts
        return
    command = [sys.executable, "-m", "bench.streams", str(port), str(streams), *([prefix] if prefix else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "open\n"
        yield counts
        process.stdin.close()
        counts |= json.loads(process.stdout.readline())


def _wait_for_the_feed(port: int) -> None:
    deadline = time.monotonic() + PUBLISH_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/events", timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
