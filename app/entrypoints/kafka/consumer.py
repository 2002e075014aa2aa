"""The inbound consumer: runs each message of upstream systems as a command, once.

The records of one poll are one group on the bus: their ids, effects and dead letters commit together. A record that
would delay the others (its product is locked, or its work is large) is deferred, and only its partition waits for it.
Transient faults are retried without a limit. A message that fails permanently becomes a dead letter.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from app.domain.errors import DomainError
from app.entrypoints.kafka.subscription import Finish
from app.integration.cloudevents import UnreadableMessageError
from app.integration.dead_letters import DeadLetter, KeepDeadLetter
from app.observability import logging as observed
from app.observability import metrics, tracing
from app.observability.tracing import Span
from app.service_layer.inbox import to_request
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import Cause
from app.service_layer.requests import Outcome, Request
from app.service_layer.retry import Run, run_until_available

log = logging.getLogger(__name__)

PARTITIONS_AT_A_TIME = 2
"""Partitions whose deferred records may have a transaction at the same time."""


@dataclass(frozen=True, slots=True)
class _Inbound:
    """A record, its request, and its span if it is traced."""

    record: ConsumerRecord
    request: Request
    span: Span | None


class InboundConsumer:
    """Runs records on the bus. `context` is for the validation of their data."""

    def __init__(
        self,
        bus: MessageBus,
        *,
        consumer_group: str,
        context: Mapping[str, Any] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bus = bus
        self._consumer_group = consumer_group
        self._context = context
        self._sleep = sleep
        self._permits = asyncio.Semaphore(PARTITIONS_AT_A_TIME)

    async def handle(self, records: Sequence[ConsumerRecord]) -> dict[TopicPartition, Finish]:
        """Handle the records as `Subscription` requires: each takes effect, is refused, set aside or deferred."""
        inbound = [self._to_inbound(record) for record in records]
        waiting: dict[TopicPartition, list[_Inbound]] = {}
        for each in await self._run(self._bus.run_shared, inbound):
            waiting.setdefault(TopicPartition(each.record.topic, each.record.partition), []).append(each)
        return {partition: partial(self._run, self._run_apart, deferred) for partition, deferred in waiting.items()}

    async def _run(self, run: Run, inbound: Sequence[_Inbound]) -> list[_Inbound]:
        """Run the requests. Returns those that were deferred."""
        outcomes = await run_until_available(run, [each.request for each in inbound], self._sleep)
        deferred, failed = [], []
        for each, outcome in zip(inbound, outcomes, strict=True):
            if outcome.deferred:
                deferred.append(each)
                continue
            record, request = each.record, each.request
            metrics.inbound_messages.labels(_describe(request, outcome)).inc()
            if outcome.error is None:
                self._report_letter(request, outcome)
            else:
                with observed.bound(request.cause, request.message_id):
                    if isinstance(outcome.error, DomainError):
                        log.info("message %s was refused: %s", request.message_id, outcome.error)
                    else:
                        failed.append(self._set_aside(record, outcome.reason, request.message_id, request.cause))
            if each.span is not None:
                _end_span(each.span, record, outcome)
        if failed:
            kept = await run_until_available(self._bus.handle_group, failed, self._sleep)
            for request, outcome in zip(failed, kept, strict=True):
                outcome.unwrap()
                self._report_letter(request, outcome)
        return deferred

    async def _run_apart(self, requests: Sequence[Request]) -> list[Outcome]:
        """Run deferred requests, for a few partitions at a time: each holds a connection while it waits."""
        async with self._permits:
            return await self._bus.run_apart(requests)

    def _to_inbound(self, record: ConsumerRecord) -> _Inbound:
        request = self._to_request(record)
        span = self._start_span(record, request) if tracing.is_on() else None
        return _Inbound(record, _child_of(span, request), span)

    def _to_request(self, record: ConsumerRecord) -> Request:
        try:
            return to_request(record.headers, record.value, self._context)
        except UnreadableMessageError as error:
            cause = Cause(error.message_id or "", error.message_id or "")
            return self._set_aside(record, str(error), error.message_id, cause)

    def _set_aside(self, record: ConsumerRecord, reason: str, message_id: str | None, cause: Cause) -> Request:
        letter = DeadLetter(
            consumer=self._consumer_group,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp=record.timestamp,
            key=record.key,
            value=record.value,
            headers=tuple(record.headers),
            reason=reason,
            message_id=message_id,
        )
        return Request(KeepDeadLetter(letter=letter), cause)

    def _report_letter(self, request: Request, outcome: Outcome) -> None:
        """Log and count a new letter after its commit, so that log, metric and table agree."""
        if not isinstance(request.command, KeepDeadLetter):
            return
        letter = request.command.letter
        place = f"{letter.topic}[{letter.partition}]@{letter.offset}"
        with observed.bound(request.cause, letter.message_id):
            if outcome.result:
                log.warning("%s is a dead letter now: %s", place, letter.reason)
                metrics.dead_letters.labels(self._consumer_group).inc()
            else:
                log.info("%s is already a dead letter: %s", place, letter.reason)

    def _start_span(self, record: ConsumerRecord, request: Request) -> Span | None:
        if not tracing.records(request.cause.traceparent):
            return None
        attributes = {
            **tracing.messaging("process", record.topic, self._consumer_group),
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.message.id": request.message_id or "",
            "messaging.message.conversation_id": request.cause.correlation_id,
        }
        return tracing.start("consumer", f"process {record.topic}", request.cause.traceparent, attributes)


def _end_span(span: Span, record: ConsumerRecord, outcome: Outcome) -> None:
    """End the span. A refusal is a normal result and not an error."""
    span.note(f"process {record.topic}", {"allocation.outcome": outcome.label})
    span.end(None if outcome.error is None or isinstance(outcome.error, DomainError) else type(outcome.error).__name__)


def _child_of(span: Span | None, request: Request) -> Request:
    """The request with the span as its parent."""
    return request if span is None else replace(request, cause=replace(request.cause, traceparent=span.traceparent))


def _describe(request: Request, outcome: Outcome) -> str:
    """The outcome of a record, as the metric labels it."""
    if isinstance(request.command, KeepDeadLetter) and outcome.error is None:
        return "dead_letter" if outcome.result else "duplicate"
    return outcome.label
