"""The scenarios: each returns its rows of the table, and records wrong results in the plan."""

from collections.abc import Callable

from bench.plan import Plan
from bench.report import Row
from bench.scenarios import (
    bus,
    costs,
    feed,
    flatness,
    holds,
    http,
    importing,
    kafka,
    large,
    orders,
    parts,
    product,
    unused,
)
from bench.stack import Stack

Scenario = Callable[[Stack, Plan], list[Row]]

SCENARIOS: dict[str, Scenario] = {
    "product": product.whole_product,
    "bus": bus.bus_against_sql,
    "write": bus.write_share,
    "http": http.http_against_noop,
    "latency": http.latency_and_overload,
    "unused": unused.unused_features,
    "orders": orders.orders_of_lines,
    "workers": http.two_workers,
    "kafka": kafka.kafka_in_to_out,
    "relay": kafka.relay_drain,
    "notifier": kafka.notifier_passes_over,
    "flatness": flatness.flatness,
    "choice": flatness.choice,
    "holds": holds.holds_among_allocations,
    "ends": holds.many_holds_end,
    "streams": feed.post_beside_streams,
    "memory": bus.memory,
    "import": importing.import_of_order_lines,
}

QUICK = ("product", "bus", "write", "http", "kafka", "relay", "notifier")
"""The scenarios of a quick run. Those that are left out need more time to say anything, or to fill their tables."""

# These compare the service with itself and take minutes.
ON_REQUEST: dict[str, Scenario] = {
    "identity": costs.identity,
    "telemetry": costs.telemetry,
    "large": large.large_requests,
    "events": feed.streams_of_many_events,
    "parts": parts.parts,
}
