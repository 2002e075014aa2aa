"""Traces: what one request set in motion, from HTTP or Kafka through the bus and the outbox to the subscribers.

The rest of the service knows this module and nothing of OpenTelemetry. Where no endpoint is set there is no tracer,
every function here returns at once, and the SDK is not even imported. What is handed on from part to part is a text,
the W3C `traceparent`: it fits into a cause, a column and a header alike.
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
    """A span under way."""

    traceparent: str
    """For all that follows from it."""

    def note(self, name: str, attributes: Attributes) -> None:
        """Say more of it: its name, which may be known only at the end, and further attributes."""

    def end(self, error: str | None = None) -> None:
        """End it; `error` is the type of what went wrong. What an error says stays out: it may quote what was sent."""


# OpenTelemetry's own names for the endpoint: whoever sets them for all services need not set ours.
STANDARD_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

# Source: https://www.w3.org/TR/trace-context/#traceparent-header-field-values
_SAMPLED = frozenset("13579bdf")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_NOTHING = nullcontext()

_tracer: "Tracer | None" = None
_ratio = 0.0


@contextmanager
def exporting(endpoint: str | None, ratio: float) -> Iterator[None]:
    """Trace while the block runs, and export by OTLP over HTTP; do nothing where no endpoint is set.

    `endpoint` is where the collector listens, as in `http://localhost:4318`; where it is None, OpenTelemetry's own
    variables count. For `ratio` see `records`.
    """
    global _tracer, _ratio  # noqa: PLW0603 - one for the process, as the metrics are
    if endpoint is None and not any(map(os.environ.get, STANDARD_ENDPOINTS)):
        yield
        return
    from app.observability.otlp import Tracer  # noqa: PLC0415 - not even imported where nobody traces

    tracer = _tracer = Tracer(endpoint)
    _ratio = ratio
    try:
        yield
    finally:
        _tracer = None
        tracer.shutdown()


def is_on() -> bool:
    """Whether anything is traced."""
    return _tracer is not None


def records(parent: str | None) -> bool:
    """Whether what begins here is recorded: as its parent is; where there is none, so large a share as was asked for.

    Decided here and not by OpenTelemetry, which would make a span first: what is not recorded costs nothing, and hands
    nothing on.
    """
    if _tracer is None:
        return False
    return random.random() < _ratio if parent is None else is_recorded(parent)  # noqa: S311 - no secret


def start(kind: Kind, name: str, parent: str | None, attributes: Attributes | None = None) -> Span | None:
    """Begin a span below the parent, or a trace where there is none; None where nothing is traced. See `records`."""
    return None if _tracer is None else _tracer.start(kind, name, parent, attributes)


def follow(kind: Kind, name: str, parent: str | None, attributes: Attributes | None = None) -> Span | None:
    """Begin a span below a parent that is recorded; None where there is no such parent."""
    if _tracer is None or parent is None or not is_recorded(parent):
        return None
    return _tracer.start(kind, name, parent, attributes)


def following(
    kind: Kind, name: str, parent: str | None, attributes: Attributes | None = None
) -> AbstractContextManager[None]:
    """`follow`, for a block: the span ends with it."""
    span = follow(kind, name, parent, attributes)
    return _NOTHING if span is None else _ended(span)


def messaging(operation: Literal["process", "send"], topic: str, group: str | None = None) -> dict[str, str | int]:
    """What a span says of a message: what is done with it, on which topic and, where it is read, for which group.

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
    """Span the block, in which a group of requests is run.

    The span stands in the trace of the first request that is recorded, and is linked to all that are: a span has only
    one parent, and a link for each costs next to nothing. `parents` are the traceparents of the requests.
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
    """Whether it is a traceparent, and its sender records the trace. Asked for every request of a group."""
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
