"""OpenTelemetry behind `tracing`. Imported only if traces are exported."""

import threading
from collections.abc import Iterable

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from app.observability.tracing import Attributes, Kind

KINDS: dict[Kind, trace.SpanKind] = {
    "server": trace.SpanKind.SERVER,
    "internal": trace.SpanKind.INTERNAL,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}
SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)
# The largest number of requests in a group. The SDK's default of 128 would drop links.
MAX_LINKS = 1000
QUEUE_SIZE = 8192
EXPORT_TIMEOUT = 5.0
SHUTDOWN_TIMEOUT = 3.0
"""Seconds for exporting the last spans. An unavailable collector must not keep a process from stopping."""


class RecordedSpan:
    """Implements `tracing.Span`."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: trace.Span) -> None:
        context = span.get_span_context()
        self._span = span
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def note(self, name: str, attributes: Attributes) -> None:
        """See `tracing.Span`."""
        self._span.update_name(name)
        self._span.set_attributes(attributes)

    def end(self, error: str | None = None) -> None:
        """See `tracing.Span`."""
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()


class Tracer:
    """Records spans, and exports them in batches from its own thread. See `tracing.exporting`."""

    def __init__(self, endpoint: str | None) -> None:
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence over the name given here.
        resource = Resource.create({SERVICE_NAME: "allocation"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(
            # `tracing.records` has already sampled.
            sampler=ALWAYS_ON,
            resource=resource,
            span_limits=SpanLimits(max_links=MAX_LINKS),
            shutdown_on_exit=False,
        )
        self._exporter = OTLPSpanExporter(
            endpoint=None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, max_queue_size=QUEUE_SIZE))
        self._tracer = self._provider.get_tracer("allocation")

    def start(
        self,
        kind: Kind,
        name: str,
        parent: str | None,
        attributes: Attributes | None = None,
        *,
        links: Iterable[str] = (),
    ) -> RecordedSpan:
        """Start a span. An invalid parent is ignored. See `tracing.start`."""
        # A new context: the current span of the task is not the parent.
        context = Context()
        if parent is not None:
            context = trace.set_span_in_context(trace.NonRecordingSpan(_span_context(parent)), context)
        span = self._tracer.start_span(
            name,
            context=context,
            kind=KINDS[kind],
            attributes=attributes,
            links=[trace.Link(_span_context(link)) for link in links],
        )
        return RecordedSpan(span)

    def shutdown(self) -> None:
        """Export the last spans, within `SHUTDOWN_TIMEOUT`."""
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(SHUTDOWN_TIMEOUT)
        if last.is_alive():
            # It would retry for half a minute.
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _span_context(traceparent: str) -> trace.SpanContext:
    """The context in a traceparent; an invalid context, which OpenTelemetry ignores, if it is malformed.

    OpenTelemetry's own parser also reads `tracestate`, and takes 6 µs more for each link of a group.
    """
    try:
        trace_id, span_id = int(traceparent[3:35], 16), int(traceparent[36:52], 16)
    except ValueError:
        return trace.INVALID_SPAN_CONTEXT
    return trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=SAMPLED)
