"""Traces of a request, from HTTP or Kafka through the bus and the outbox to the subscribers.

The rest of the service uses this module and not OpenTelemetry. Without an endpoint there is no tracer, every function
here returns at once, and the SDK is not imported. The context is passed on as text, the W3C `traceparent`, which fits
into a cause, a column and a header.
"""

import os
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from app.observability.otlp import Tracer

Kind = Literal["server", "internal", "producer", "consumer"]
Attributes = Mapping[str, str | int]


class Span(Protocol):
    """A span that has started."""

    traceparent: str
    """The context for child spans."""

    def note(self, name: str, attributes: Attributes) -> None:
        """Set the name, which may be known only at the end, and further attributes."""

    def end(self, error: str | None = None) -> None:
        """End the span. `error` is the type of an exception; its message is left out, because it may quote payloads."""


# OpenTelemetry's own variables for the endpoint, which may be set for all services.
STANDARD_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

# Source: https://www.w3.org/TR/trace-context/#traceparent-header-field-values
_SAMPLED = frozenset("13579bdf")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_NOTHING = nullcontext()

_tracer: "Tracer | None" = None
_ratio = 0.0


@contextmanager
def exporting(endpoint: str | None, ratio: float) -> Iterator[None]:
    """Trace while the block runs, and export by OTLP over HTTP. Does nothing without an endpoint.

    `endpoint` is the address of the collector, such as `http://localhost:4318`; if it is None, OpenTelemetry's own
    variables are used. `ratio` is the fraction of new traces that are recorded.
    """
    global _tracer, _ratio  # noqa: PLW0603 - one for the process, like the metrics
    if endpoint is None and not any(map(os.environ.get, STANDARD_ENDPOINTS)):
        yield
        return
    from app.observability.otlp import Tracer  # noqa: PLC0415 - not imported without tracing

    tracer = _tracer = Tracer(endpoint)
    _ratio = ratio
    try:
        yield
    finally:
        _tracer = None
        tracer.shutdown()


def is_on() -> bool:
    """Whether tracing is on."""
    return _tracer is not None


def records(parent: str | None) -> bool:
    """Whether a span below the parent is recorded: if the parent is, or, without a parent, with probability `ratio`.

    Decided here and not by OpenTelemetry, which would create a span first: an unrecorded span costs nothing and passes
    no context on.
    """
    if _tracer is None:
        return False
    return random.random() < _ratio if parent is None else is_recorded(parent)  # noqa: S311 - no secret


def start(kind: Kind, name: str, parent: str | None, attributes: Attributes | None = None) -> Span | None:
    """Start a span below the parent, or a new trace without one. None if tracing is off. Call `records` first."""
    return None if _tracer is None else _tracer.start(kind, name, parent, attributes)


def follow(kind: Kind, name: str, parent: str | None, attributes: Attributes | None = None) -> Span | None:
    """Start a span below a recorded parent; None without one."""
    if _tracer is None or parent is None or not is_recorded(parent):
        return None
    return _tracer.start(kind, name, parent, attributes)


def following(
    kind: Kind, name: str, parent: str | None, attributes: Attributes | None = None
) -> AbstractContextManager[None]:
    """`follow` for a block."""
    span = follow(kind, name, parent, attributes)
    return _NOTHING if span is None else _ended(span)


def messaging(operation: Literal["process", "send"], topic: str, group: str | None = None) -> dict[str, str | int]:
    """The attributes of a span for a message: the operation, the topic and, for a consumer, its group.

    Source: https://opentelemetry.io/docs/specs/semconv/messaging/kafka/
    """
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
        "messaging.destination.name": topic,
    }
    return attributes if group is None else {**attributes, "messaging.consumer.group.name": group}


def unit_of_work(parents: Iterable[str | None]) -> AbstractContextManager[None]:
    """A span for a block in which a group of requests runs.

    The span belongs to the trace of the first recorded request and has links to all recorded requests, because a span
    has only one parent. `parents` are the traceparents of the requests.
    """
    if _tracer is None:
        return _NOTHING
    requests = list(parents)
    recorded = [parent for parent in requests if parent is not None and is_recorded(parent)]
    if not recorded:
        return _NOTHING
    attributes = {"allocation.group.size": len(requests)}
    return _ended(_tracer.start("internal", "unit of work", recorded[0], attributes, links=recorded))


def is_recorded(traceparent: str) -> bool:
    """Whether it is a valid traceparent whose sender records the trace."""
    return traceparent[-1:] in _SAMPLED and _TRACEPARENT.fullmatch(traceparent) is not None


@contextmanager
def _ended(span: Span) -> Iterator[None]:
    error: str | None = None
    try:
        yield
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        span.end(error)
