"""Structured logs for everything in the process, including uvicorn and aiokafka.

Every line that is logged while a request or a message is handled has its ids. No line contains payloads, or the local
variables of a traceback, which may contain payloads or passwords.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Protocol

import structlog

from app.observability import log_keys
from app.observability.log_keys import LogKeys


class Ids(Protocol):
    """The ids of a `Cause`, which this layer cannot import."""

    @property
    def causation_id(self) -> str:
        """The id of the request or the message."""

    @property
    def correlation_id(self) -> str:
        """The id of the whole conversation."""

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context."""


TRACEPARENT_PARTS = 4

# A single variable, set in a tenth of a microsecond, because it is set for each command and read for few.
_handled: ContextVar[tuple[Ids | None, str | None]] = ContextVar("handled", default=(None, None))
Binding = Token[tuple[Ids | None, str | None]]


def bind(ids: Ids | None, message_id: str | None = None) -> Binding:
    """Add these ids to the lines of this task from now on; None: no request, or several at once."""
    return _handled.set((ids, message_id))


def unbind(binding: Binding) -> None:
    """Restore the ids from before `bind`."""
    _handled.reset(binding)


@contextmanager
def bound(ids: Ids | None, message_id: str | None = None) -> Iterator[None]:
    """`bind` for a block. It costs more than `bind` and `unbind`."""
    binding = bind(ids, message_id)
    try:
        yield
    finally:
        unbind(binding)


def configure(log_format: str, level: str, keys: LogKeys = "own") -> None:
    """Log to standard error, one line for each event: as JSON with the given keys, or as text for people."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _with_ids,
        _without_colours,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[structlog.typing.Processor] = (
        [
            *log_keys.processors(keys),
            structlog.processors.JSONRenderer(),
        ]
        if log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("aiokafka", "kafka", "alembic.runtime.plugins"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))


def quieten(*names: str) -> None:
    """Limit these loggers to warnings and errors, unless the level is DEBUG."""
    if logging.getLogger().level > logging.DEBUG:
        for name in names:
            logging.getLogger(name).setLevel(logging.WARNING)


def _without_colours(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Drop uvicorn's second copy of its messages, which is for terminals."""
    event.pop("color_message", None)
    return event


def _with_ids(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add the bound ids. Ids that the line has itself take precedence."""
    ids, message_id = _handled.get()
    if ids is None:
        return event
    found = {"correlation_id": ids.correlation_id, "causation_id": ids.causation_id, "message_id": message_id}
    parts = (ids.traceparent or "").split("-")
    if len(parts) == TRACEPARENT_PARTS:
        found |= {"trace_id": parts[1], "span_id": parts[2]}
    for name, value in found.items():
        if value:
            event.setdefault(name, value)
    return event
