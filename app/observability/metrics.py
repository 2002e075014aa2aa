"""The service's Prometheus metrics, in base units. No label bears a SKU, an order or a batch."""

from functools import cache

from prometheus_client import (
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)

# A series more for each counter, which nothing here reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

commands = Counter("allocation_commands", "Commands handled, by type and outcome.", ["command", "outcome"])
group_size = Histogram(
    "allocation_group_size_commands",
    "Commands that shared one unit of work.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
group_retries = Counter("allocation_group_retries", "Units of work tried again after a passing database fault.")
queue_seconds = Histogram(
    "allocation_queue_seconds",
    "Time that a command waited for its unit of work.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
http_requests = Counter("allocation_http_requests", "Requests answered.", ["method", "route", "status"])
http_seconds = Histogram(
    "allocation_http_request_seconds",
    "Time from a request to its answer.",
    ["method", "route"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
outbox_published = Counter("allocation_outbox_published", "Events sent to Kafka and acknowledged.")
outbox_failures = Counter("allocation_outbox_send_failures", "Rounds of the relay that ended in an error.")
outbox_pending = Gauge("allocation_outbox_pending_events", "Events committed and not yet published; NaN without relay.")
outbox_pending.set(float("nan"))
inbound_messages = Counter(
    "allocation_inbound_messages", "Records read from Kafka, by what became of them.", ["outcome"]
)
dead_letters = Counter(
    "allocation_dead_letters", "Messages set aside, by the consumer that gave them up.", ["consumer"]
)
reconcile_differences = Counter(
    "allocation_reconcile_differences",
    "Differences between stored sums, lines, queue and outbox, each time they are found.",
    ["kind"],
)
mails = Counter("allocation_mails", "Mails handed to the mail server.", ["kind"])
mail_failures = Counter("allocation_mail_failures", "Attempts to hand over a mail that failed.")


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@cache
def _command_counter(command: str, outcome: str) -> Counter:
    return commands.labels(command, outcome)


def count_command(command: str, outcome: str) -> None:
    """Count one command; the outcome is "ok", "duplicate", "error" or the code of the refusal."""
    _command_counter(command, outcome).inc()


@cache
def _request_counter(method: str, route: str, status: int) -> Counter:
    return http_requests.labels(method, route, str(status))


@cache
def _request_timer(method: str, route: str) -> Histogram:
    return http_seconds.labels(method, route)


def count_request(method: str, route: str, status: int) -> None:
    """Count one request by its route, as it stands in the OpenAPI document."""
    _request_counter(method if method in METHODS else "other", route, status).inc()


def measure_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count one request and the time that it took."""
    count_request(method, route, status)
    _request_timer(method if method in METHODS else "other", route).observe(seconds)


def serve(port: int) -> None:
    """Serve the metrics of a process that has no HTTP of its own, on all addresses. Raises OSError."""
    start_http_server(port)


def exposition() -> bytes:
    """All metrics in the Prometheus text format."""
    return generate_latest(REGISTRY)
