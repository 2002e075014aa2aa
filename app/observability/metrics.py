"""The service's Prometheus metrics, in base units. No label contains a SKU, an order or a batch."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import prometheus_client.openmetrics.exposition as openmetrics
from prometheus_client import (
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    make_wsgi_app,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# They would add a series to each counter, and nothing reads it.
disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = openmetrics.CONTENT_TYPE_LATEST

commands = Counter("allocation_commands", "Commands handled, by type and outcome.", ["command", "outcome"])
group_size = Histogram(
    "allocation_group_size_commands",
    "Commands that shared one unit of work.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
group_retries = Counter("allocation_group_retries", "Units of work retried after a transient database fault.")
group_splits = Counter(
    "allocation_group_splits", "Groups run in parts after a fault that may concern some requests only.", ["reason"]
)
time_limits = Counter("allocation_time_limits", "Units of work that the database stopped at a time limit.")
deferred_commands = Counter(
    "allocation_deferred_commands",
    "Commands run separately so that others do not wait: their product was locked, their work is large, or many holds "
    "of their product have ended.",
    ["reason"],
)
for _reason in ("time-limit", "rows"):
    group_splits.labels(_reason)
for _reason in ("locked", "large", "holds"):
    deferred_commands.labels(_reason)
queue_seconds = Histogram(
    "allocation_queue_seconds",
    "Time that a command waited for its unit of work.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
lock_wait_seconds = Histogram(
    "allocation_lock_wait_seconds",
    "Time until the products of a group were locked, the round trip included.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
http_requests = Counter("allocation_http_requests", "Requests answered.", ["method", "route", "status"])
http_seconds = Histogram(
    "allocation_http_request_seconds",
    "Time from a request to its answer.",
    ["method", "route"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
http_bodies = Gauge(
    "allocation_http_bodies_bytes",
    "Bytes of request bodies that are being received or handled; NaN in a process without HTTP.",
)
http_bodies_limit = Gauge(
    "allocation_http_bodies_limit_bytes",
    "Bytes of request bodies that the process may hold; NaN in a process without HTTP.",
)
outbox_published = Counter("allocation_outbox_published", "Events sent to Kafka and acknowledged.")
outbox_failures = Counter("allocation_outbox_send_failures", "Rounds of the relay that failed.")
outbox_pending = Gauge("allocation_outbox_pending_events", "Events committed and not yet published; NaN without relay.")
outbox_oldest_age = Gauge(
    "allocation_outbox_oldest_age_seconds",
    "Age of the oldest event that waits in the shards of this relay; NaN without relay.",
)
outbox_refused_age = Gauge(
    "allocation_outbox_refused_age_seconds",
    "Age of the oldest event that a partition refuses; no series for partitions that accept their events.",
    ["partition"],
)
outbox_refused_subjects = Gauge(
    "allocation_outbox_refused_subjects",
    "SKUs and orders with an event that the broker refuses for its content; NaN without relay.",
)
relay_shards = Gauge(
    "allocation_relay_leased_shards",
    "Shards of the outbox that are leased to this relay, 16 over all relays; NaN without relay.",
)
outbox_dead_rows = Gauge(
    "allocation_outbox_dead_rows",
    "Rows deleted from the outbox and not vacuumed; NaN if not measured.",
)
oldest_snapshot_seconds = Gauge(
    "allocation_database_oldest_snapshot_seconds",
    "Time for which the same snapshot, slot or prepared transaction has kept dead rows; NaN if not measured.",
)
oldest_snapshot_transactions = Gauge(
    "allocation_database_oldest_snapshot_transactions",
    "Transactions since the oldest snapshot, slot or prepared transaction; NaN if not measured.",
)
relay_lag_seconds = Histogram(
    "allocation_relay_lag_seconds",
    "Age of the oldest event of a batch when Kafka acknowledged the batch.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
consumer_lag = Gauge(
    "allocation_consumer_lag_messages",
    "Records that wait in this consumer's partitions; NaN while unknown.",
    ["subscription"],
)
subscription_records = Counter(
    "allocation_subscription_records", "Records handled and committed, by subscription.", ["subscription"]
)
inbound_messages = Counter("allocation_inbound_messages", "Records read from Kafka, by outcome.", ["outcome"])
dead_letters = Counter("allocation_dead_letters", "Messages that became dead letters, by consumer group.", ["consumer"])
dead_letters_kept = Gauge(
    "allocation_dead_letters_kept_messages", "Dead letters that are kept; NaN if this process does not count them."
)
backordered_lines = Gauge(
    "allocation_backordered_lines", "Lines that wait for stock; NaN if this process does not count them."
)
held_lines = Gauge("allocation_held_lines", "Lines that are held; NaN if this process does not count them.")
overdue_hold_age = Gauge(
    "allocation_overdue_holds_oldest_age_seconds",
    "Time since the oldest hold that has not been ended was over, 0 without one; NaN if not measured.",
)
pool_connections = Gauge("allocation_database_pool_connections", "Connections to the database in use.", ["pool"])
pool_limit = Gauge("allocation_database_pool_limit_connections", "Connections that a pool may hold.", ["pool"])
read_only_refusals = Counter(
    "allocation_database_read_only_refusals",
    "Connections closed because their server takes no writes.",
)
event_loop_lag_seconds = Histogram(
    "allocation_event_loop_lag_seconds",
    "Delay of the event loop beyond the requested time.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
reconcile_differences = Counter(
    "allocation_reconcile_differences",
    "Differences between stored sums, lines, queue and outbox, each time they are found.",
    ["kind"],
)
reconcile_failures = Counter(
    "allocation_reconcile_failures", "Products whose sums, lines, queue and events could not be compared."
)
reconcile_last_complete = Gauge(
    "allocation_reconcile_last_complete_timestamp_seconds",
    "When all products were last compared, in Unix time; 0 before the first time, NaN if this process compares none.",
)
feed_streams = Gauge("allocation_feed_streams", "Callers that wait for events; NaN in a process without HTTP.")
feed_ring_events = Gauge("allocation_feed_ring_events", "Events that the feed holds in memory; NaN without a feed.")
feed_lag = Gauge("allocation_feed_lag_events", "Events that the feed has not received yet; NaN without readers.")
mails = Counter("allocation_mails", "Mails accepted by the mail server.", ["kind"])
mail_failures = Counter("allocation_mail_failures", "Failed attempts to send a mail.")

UNKNOWN = float("nan")
for _measured_by_one_process in (
    http_bodies,
    http_bodies_limit,
    outbox_pending,
    outbox_oldest_age,
    outbox_refused_subjects,
    relay_shards,
    dead_letters_kept,
    backordered_lines,
    held_lines,
    overdue_hold_age,
    reconcile_last_complete,
    outbox_dead_rows,
    oldest_snapshot_seconds,
    oldest_snapshot_transactions,
    feed_streams,
    feed_ring_events,
    feed_lag,
):
    # 0 would be wrong in a process that does not measure them.
    _measured_by_one_process.set(UNKNOWN)


def set_refused_ages(ages: Mapping[int, float]) -> None:
    """Set the age of the oldest event of each refused partition, and remove the series of the others."""
    outbox_refused_age.clear()
    for partition, age in ages.items():
        outbox_refused_age.labels(str(partition)).set(age)


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@cache
def _command_counter(command: str, outcome: str) -> Counter:
    return commands.labels(command, outcome)


def initialize_command(command: str) -> None:
    """Create the error counter with 0, because an alert detects the first failure only as an increase."""
    _command_counter(command, "error")


def count_command(command: str, outcome: str) -> None:
    """Count one command. The outcome is `Outcome.label`: "ok", "error" and the like, or a refusal's code."""
    _command_counter(command, outcome).inc()


@cache
def _request_counter(method: str, route: str, status: int) -> Counter:
    return http_requests.labels(method, route, str(status))


@cache
def _request_timer(method: str, route: str) -> Histogram:
    return http_seconds.labels(method, route)


def count_request(method: str, route: str, status: int) -> None:
    """Count one request by its route in the OpenAPI document."""
    _request_counter(method if method in METHODS else "other", route, status).inc()


def measure_request(method: str, route: str, status: int, seconds: float | None) -> None:
    """Count one request, and the time that it took unless that is None."""
    count_request(method, route, status)
    if seconds is None:
        return
    _request_timer(method if method in METHODS else "other", route).observe(seconds)


def watch_bodies(held: Callable[[], int], limit: int) -> None:
    """Set the gauges of request bodies. `held` is called at each scrape."""
    http_bodies.set_function(held)
    http_bodies_limit.set(limit)


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request, so that a slow client does not delay the others."""

    daemon_threads = True


class _SilentRequestHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Do nothing: a line for each scrape and probe would hide the others."""


def serve(port: int, is_alive: Callable[[], bool]) -> None:
    """Serve the metrics of a process without HTTP, on all addresses. Raises OSError.

    The server has its own thread and answers even if the event loop is blocked. So `/livez` returns 503 unless
    `is_alive`.
    """
    exposed: WSGIApplication = make_wsgi_app()

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/livez":
            return exposed(environ, start_response)
        alive = is_alive()
        start_response("200 OK" if alive else "503 Service Unavailable", [("Content-Type", "application/json")])
        return [b'{"status":"alive"}' if alive else b'{"status":"stuck"}']

    server = make_server("0.0.0.0", port, application, _Server, _SilentRequestHandler)  # noqa: S104 - Prometheus is on another host
    Thread(target=server.serve_forever, daemon=True).start()


def exposition() -> bytes:
    """All metrics in the Prometheus text format."""
    return generate_latest(REGISTRY)


def openmetrics_exposition() -> bytes:
    """All metrics as OpenMetrics 1.0."""
    body: bytes = openmetrics.generate_latest(REGISTRY)  # type: ignore[no-untyped-call]
    return body


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header includes OpenMetrics 1. Prometheus lists it first, and the text format after it."""
    return any(_is_openmetrics(each) for each in accept.lower().split(","))


def _is_openmetrics(media_range: str) -> bool:
    media_type, *parameters = (part.strip() for part in media_range.split(";"))
    facts = dict(part.partition("=")[::2] for part in parameters)
    wanted = facts.get("version", "1.0.0").startswith("1.") and facts.get("q", "1").strip("0.") != ""
    return media_type == "application/openmetrics-text" and wanted
