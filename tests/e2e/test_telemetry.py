"""One request traced from the HTTP call to the mail: its spans in a collector, and its ids in the logs."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.embedded.process import free_port
from app.settings import Settings
from tests.support.api import Api, new, over_http
from tests.support.command import Command, environment, running
from tests.support.mail import MailBox
from tests.support.otlp import Collector, Received, collecting
from tests.support.waiting import eventually
from tests.support.wire import Wire

pytestmark = pytest.mark.kafka


@dataclass(frozen=True)
class Traced:
    """A service that exports every trace, with its topics and collector."""

    url: str
    wire: Wire
    collector: Collector
    command: Command
    settings: Settings

    async def spans(self, trace_id: str, *names: str) -> dict[str, Received]:
        """The spans of the trace by name, once those that are named are there."""

        async def there() -> bool:
            return set(names) <= {span.name for span in self.collector.of_trace(trace_id)}

        try:
            await eventually(there)
        except AssertionError:
            raise AssertionError(f"{names} of {trace_id} in {self.collector.spans}") from None
        return {span.name: span for span in self.collector.of_trace(trace_id)}

    def lines(self, **wanted: str) -> list[dict[str, Any]]:
        """The lines of the log that have these values."""
        lines = [json.loads(line) for line in self.command.output.splitlines()]
        return [line for line in lines if wanted.items() <= line.items()]


@pytest.fixture
def traced(kafka_settings: Settings, mail_box: MailBox, tmp_path: Path) -> Iterator[Traced]:
    port = free_port()
    wire = Wire(
        kafka_settings.kafka_bootstrap_servers,
        kafka_settings.kafka_inbound_topics[0],
        kafka_settings.kafka_events_topic,
    )
    with collecting() as collector:
        env = environment(
            kafka_settings,
            smtp_url=mail_box.url,
            warehouse_email="warehouse@example.org",
            log_format="json",
            log_access="true",
            otlp_endpoint=collector.url,
            trace_ratio="1",
        )
        env["OTEL_BSP_SCHEDULE_DELAY"] = "100"
        with running("run", "--port", str(port), env=env, log=tmp_path / "run.log") as command:
            url = f"http://127.0.0.1:{port}"
            command.wait_until_ready(url)
            yield Traced(url, wire, collector, command, kafka_settings)
    wire.close()


async def record_and_allocate(api: Api, sku: str, headers: dict[str, str]) -> str:
    """Returns the id that the service gave to the second request."""
    await api.record(sku, 10)
    line = {"order_id": new("order"), "sku": sku, "qty": 1}
    answer = await api.client.post("/v1/allocations", json=line, headers=headers)
    assert answer.status_code == 201
    return answer.headers["x-request-id"]


async def test_one_trace_leads_from_the_request_to_the_event_and_the_mail(traced: Traced) -> None:
    sku, conversation, trace_id = new("sku"), new("conversation"), uuid.uuid4().hex
    sent = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01", "x-correlation-id": conversation}
    async with over_http(traced.url) as api:
        request_id = await record_and_allocate(api, sku, sent)
    _, event = await traced.wire.events(sku, 2)
    sending = f"send {traced.wire.events_topic}"
    spans = await traced.spans(trace_id, "POST /v1/allocations", "unit of work", sending, "notify")

    request, send = spans["POST /v1/allocations"], spans[sending]
    assert (request.kind, request.parent_id) == ("server", "00f067aa0ba902b7")
    assert request.attributes["http.response.status_code"] == 201
    assert request.attributes["allocation.correlation_id"] == conversation
    work = spans["unit of work"]
    assert (work.kind, work.parent_id, work.links) == ("internal", request.span_id, (request.context,))
    assert (send.kind, send.parent_id) == ("producer", request.span_id)
    assert event.headers["traceparent"] == event.headers["ce_traceparent"] == send.traceparent
    on_events = {"messaging.system": "kafka", "messaging.destination.name": traced.wire.events_topic}
    sending_it = {"messaging.operation.type": "send", "messaging.operation.name": "send"}
    assert {
        **on_events,
        **sending_it,
        "messaging.message.id": event.headers["ce_id"],
    }.items() <= send.attributes.items()
    notify = spans["notify"]
    assert (notify.kind, notify.parent_id) == ("consumer", send.span_id)
    assert notify.attributes["messaging.message.id"] == event.headers["ce_id"]
    processing_it = {"messaging.operation.type": "process", "messaging.operation.name": "process"}
    group = {"messaging.consumer.group.name": traced.settings.kafka_notifier_group}
    assert {**on_events, **processing_it, **group}.items() <= notify.attributes.items()
    assert len(traced.collector.of_trace(trace_id)) == 4
    assert not any(span.has_failed for span in spans.values())

    ids = {"correlation_id": conversation, "causation_id": request_id, "trace_id": trace_id, "span_id": request.span_id}
    (access,) = traced.lines(logger="uvicorn.access", **ids)
    assert access["event"].endswith('"POST /v1/allocations HTTP/1.1" 201')


async def test_one_trace_leads_from_an_inbound_message_to_its_event(traced: Traced) -> None:
    sku, conversation = new("sku"), new("conversation")
    async with over_http(traced.url) as api:
        await api.record(sku, 10)
    line = {"order_id": new("order"), "sku": sku, "qty": 1}
    message_id = traced.wire.send("allocation_required.v1", line, correlationid=conversation)
    _, event = await traced.wire.events(sku, 2)
    trace_id = event.headers["traceparent"].split("-")[1]
    process = f"process {traced.wire.inbound_topic}"
    spans = await traced.spans(trace_id, process, "unit of work", f"send {traced.wire.events_topic}", "notify")

    message, work = spans[process], spans["unit of work"]
    assert (message.kind, message.parent_id) == ("consumer", "")
    assert message.attributes["messaging.message.id"] == message_id
    assert message.attributes["messaging.message.conversation_id"] == conversation
    assert message.attributes["messaging.operation.name"] == "process"
    assert message.attributes["messaging.consumer.group.name"] == traced.settings.kafka_consumer_group
    assert message.context in work.links
    assert spans[f"send {traced.wire.events_topic}"].parent_id == message.span_id

    unknown = traced.wire.send("allocation_required.v1", {**line, "sku": new("sku")}, correlationid=conversation)
    broken = traced.wire.send("allocation_required.v1", {**line, "qty": 0}, correlationid=conversation)

    async def logged() -> bool:
        return bool(traced.lines(message_id=unknown) and traced.lines(message_id=broken))

    await eventually(logged)
    (refused,) = traced.lines(message_id=unknown)
    assert (refused["correlation_id"], refused["causation_id"]) == (conversation, unknown)
    spans = await traced.spans(refused["trace_id"], process)
    assert spans[process].attributes["allocation.outcome"] == "invalid-sku"
    assert not spans[process].has_failed, "a refusal is an answer"
    (set_aside,) = traced.lines(message_id=broken)
    assert "dead letter" in set_aside["event"]
