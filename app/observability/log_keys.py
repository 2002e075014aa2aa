"""The keys of a JSON log line: the service's own, or those of a standard.

Sources: https://www.elastic.co/docs/reference/ecs/ecs-field-reference (Elastic Common Schema),
https://opentelemetry.io/docs/specs/otel/logs/data-model/ and
https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-logs/ (OpenTelemetry)
"""

import traceback
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, ExcInfo, Processor

LogKeys = Literal["own", "ecs", "otel"]

ECS_VERSION = "8.11.0"
SERVICE = "allocation"

_SEVERITY_NUMBERS = {"debug": 5, "info": 9, "warning": 13, "error": 17, "critical": 21}
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def processors(keys: LogKeys) -> Sequence[Processor]:
    """The processors that render the exception and rename the keys, the last before the JSON renderer."""
    match keys:
        case "ecs":
            return ExceptionRenderer(_exception), _as_ecs
        case "otel":
            return ExceptionRenderer(_exception), _as_otel
        case "own":
            return (ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),)


def _exception(exc_info: ExcInfo) -> dict[str, str]:
    kind, error, trace = exc_info
    return {
        "type": kind.__qualname__,
        "message": str(error),
        "trace": "".join(traceback.format_exception(kind, error, trace)),
    }


def _as_ecs(_: object, __: str, line: EventDict) -> EventDict:
    """Dotted names, as ECS's own loggers write them. Keys without an ECS field become labels."""
    named: dict[str, Any] = {
        "@timestamp": line.pop("timestamp"),
        "log.level": line.pop("level"),
        "message": line.pop("event"),
        "ecs.version": ECS_VERSION,
        "service.name": SERVICE,
        "log.logger": line.pop("logger", None),
        "trace.id": line.pop("trace_id", None),
        "span.id": line.pop("span_id", None),
    }
    exception = line.pop("exception", {})
    named |= {
        "error.type": exception.get("type"),
        "error.message": exception.get("message"),
        "error.stack_trace": exception.get("trace"),
        "labels": dict(line) or None,
    }
    return {name: value for name, value in named.items() if value is not None}


def _as_otel(_: object, __: str, line: EventDict) -> EventDict:
    """The fields of OpenTelemetry's log data model. Other keys become attributes."""
    level, exception = line.pop("level"), line.pop("exception", {})
    named: dict[str, Any] = {
        "Timestamp": str(_nanoseconds(line.pop("timestamp"))),
        "SeverityText": level.upper(),
        "SeverityNumber": _SEVERITY_NUMBERS.get(level, 0),
        "Body": line.pop("event"),
        "TraceId": line.pop("trace_id", None),
        "SpanId": line.pop("span_id", None),
        "InstrumentationScope": {"Name": line.pop("logger", "")},
        "Resource": {"service.name": SERVICE},
    }
    attributes = dict(line)
    if exception:
        attributes |= {
            "exception.type": exception["type"],
            "exception.message": exception["message"],
            "exception.stacktrace": exception["trace"],
        }
    named["Attributes"] = attributes or None
    return {name: value for name, value in named.items() if value is not None}


def _nanoseconds(timestamp: str) -> int:
    since = datetime.fromisoformat(timestamp) - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000
