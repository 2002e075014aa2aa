"""Log lines: they bear the ids of what is being handled, in both formats, and nothing of what was sent."""

import asyncio
import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from app.integration.product_messages import LineAllocatedV1
from app.observability import logging as observed
from app.observability.log_keys import LogKeys
from app.service_layer.ports import Cause, UnitOfWork
from app.service_layer.requests import Request
from tests.support.errands import Desk, Errand
from tests.support.messages import received

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CAUSE = Cause("request-1", "conversation-1", f"00-{TRACE_ID}-{SPAN_ID}-01")
OTHER = Cause("request-2", "conversation-2")
IDS = {"correlation_id", "causation_id", "message_id", "trace_id", "span_id"}

log = logging.getLogger("allocation.test")


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., io.StringIO]]:
    """Sets the log up as a process does, with its lines where the test can read them."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def configure(log_format: str, keys: LogKeys = "own") -> io.StringIO:
        written = io.StringIO()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stderr", written)
            observed.configure(log_format, "INFO", keys)
        return written

    yield configure
    root.handlers[:], root.level = before, level


@pytest.fixture
def lines(configured: Callable[..., io.StringIO]) -> Callable[[], list[dict[str, Any]]]:
    written = configured("json")
    return lambda: [json.loads(line) for line in written.getvalue().splitlines()]


def ids_of(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name in IDS}


def test_a_line_bears_the_ids_of_what_is_handled(lines: Callable[[], list[dict[str, Any]]]) -> None:
    with observed.bound(CAUSE, "message-1"):
        log.info("inside")
        logging.getLogger("uvicorn.error").warning("a library's")
    log.info("outside")
    inside, library, outside = lines()
    expected = {"correlation_id": "conversation-1", "causation_id": "request-1", "message_id": "message-1"}
    assert ids_of(inside) == ids_of(library) == {**expected, "trace_id": TRACE_ID, "span_id": SPAN_ID}
    assert (library["logger"], library["level"]) == ("uvicorn.error", "warning")
    assert ids_of(outside) == {}


def test_the_console_shows_them_as_well(configured: Callable[..., io.StringIO]) -> None:
    written = configured("console")
    with observed.bound(CAUSE, "message-1"):
        log.info("inside")
    line = written.getvalue()
    assert "correlation_id=conversation-1" in line
    assert f"trace_id={TRACE_ID}" in line


@pytest.mark.parametrize("traceparent", [None, "", "nonsense", "a-b-c-d-e"])
def test_what_is_no_trace_leaves_no_trace_id(
    traceparent: str | None, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    with observed.bound(Cause("request-1", "conversation-1", traceparent)):
        log.info("inside")
    assert ids_of(lines()[0]) == {"correlation_id": "conversation-1", "causation_id": "request-1"}


async def test_tasks_side_by_side_do_not_mix_up_their_ids(lines: Callable[[], list[dict[str, Any]]]) -> None:
    async def handle(cause: Cause) -> None:
        observed.bind(cause)
        await asyncio.sleep(0)
        log.info("handled", extra={"expected": cause.causation_id})

    await asyncio.gather(handle(CAUSE), handle(OTHER))
    assert [line["causation_id"] for line in lines()] == [line["expected"] for line in lines()]


async def test_a_handler_logs_with_the_ids_of_its_command_and_a_group_with_none(
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    class Talkative(Desk):
        async def run(self, command: Errand, uow: UnitOfWork) -> str:
            log.info(command.name)
            return await super().run(command, uow)

    desk = Talkative()
    group = [
        Request(Errand(name="one"), CAUSE, received("message-1")),
        Request(Errand(name="two", goes_wrong=True), OTHER, received("message-2")),
    ]
    await desk.bus.handle_group(group)
    one, two, of_group, _, _, of_command = lines()
    assert (one["event"], one["causation_id"], one["message_id"]) == ("one", "request-1", "message-1")
    assert (two["event"], two["causation_id"], two["message_id"]) == ("two", "request-2", "message-2")
    assert "running its commands one by one" in of_group["event"]
    assert ids_of(of_group) == {}
    assert of_command["event"] == "Errand failed"
    assert ids_of(of_command) == {
        "correlation_id": "conversation-2",
        "causation_id": "request-2",
        "message_id": "message-2",
    }


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_values(log_format: str, configured: Callable[..., io.StringIO]) -> None:
    written = configured(log_format)

    secret = "HUNTER2".lower()  # so that it does not stand in the source, which a traceback does show

    def connect(password: str) -> None:
        raise ConnectionError("refused")

    try:
        connect(secret)
    except ConnectionError:
        log.exception("no connection")
    assert "ConnectionError" in written.getvalue()
    assert "connect" in written.getvalue()
    assert "hunter2" not in written.getvalue()


def test_an_event_that_cannot_be_read_is_not_quoted() -> None:
    with pytest.raises(ValidationError) as caught:
        LineAllocatedV1.model_validate({"sku": "hunter2", "qty": "hunter2"})
    assert "hunter2" not in str(caught.value)


def written_with(configured: Callable[..., io.StringIO], keys: LogKeys) -> list[dict[str, Any]]:
    """A plain line of a message with a trace, and one about an exception."""
    written = configured("json", keys)
    with observed.bound(CAUSE, "message-1"):
        log.info("inside", extra={"attempt": 2})

    def fail(_local_variable: str) -> None:
        raise LookupError("what went wrong")

    try:
        fail("secret"[::-1])
    except LookupError:
        log.exception("failed")
    assert "secret"[::-1] not in written.getvalue()
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_lines_may_have_the_keys_of_the_elastic_common_schema(configured: Callable[..., io.StringIO]) -> None:
    inside, failed = written_with(configured, "ecs")
    timestamp = datetime.fromisoformat(inside.pop("@timestamp"))
    assert timestamp.utcoffset() == timedelta(0)
    assert inside == {
        "log.level": "info",
        "log.logger": "allocation.test",
        "message": "inside",
        "ecs.version": "8.11.0",
        "service.name": "allocation",
        "trace.id": TRACE_ID,
        "span.id": SPAN_ID,
        "labels": {
            "attempt": 2,
            "correlation_id": "conversation-1",
            "causation_id": "request-1",
            "message_id": "message-1",
        },
    }
    assert (failed["log.level"], failed["error.type"], failed["error.message"]) == (
        "error",
        "LookupError",
        "what went wrong",
    )
    assert failed["error.stack_trace"].startswith("Traceback (most recent call last)")


def test_lines_may_have_the_keys_of_opentelemetry(configured: Callable[..., io.StringIO]) -> None:
    before = time.time_ns()
    inside, failed = written_with(configured, "otel")
    assert before - 1_000 <= int(inside.pop("Timestamp")) <= time.time_ns()
    assert inside == {
        "SeverityText": "INFO",
        "SeverityNumber": 9,
        "Body": "inside",
        "TraceId": TRACE_ID,
        "SpanId": SPAN_ID,
        "InstrumentationScope": {"Name": "allocation.test"},
        "Resource": {"service.name": "allocation"},
        "Attributes": {
            "attempt": 2,
            "correlation_id": "conversation-1",
            "causation_id": "request-1",
            "message_id": "message-1",
        },
    }
    assert (failed["SeverityNumber"], failed["Body"]) == (17, "failed")
    assert failed["Attributes"]["exception.type"] == "LookupError"
    assert failed["Attributes"]["exception.message"] == "what went wrong"
    assert failed["Attributes"]["exception.stacktrace"].startswith("Traceback (most recent call last)")
