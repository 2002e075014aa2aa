"""OpenTelemetry behind `tracing`: imported only where traces are exported."""

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
# As many as a group may have requests; the SDK's default of 128 would drop the others.
MAX_LINKS = 1000
QUEUE_SIZE = 8192
EXPORT_TIMEOUT = 5.0
SHUTDOWN_TIMEOUT = 3.0
"""Seconds that the last spans may take at the end. A collector that is away must not keep a process from stopping."""


class RecordedSpan:
    """Implements `tracing.Span`."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: trace.Span) -> None:
        context = span.get_span_context()
        self._span = span
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def note(self, name: str, attributes: Attributes) -> None:
        """Give it a better name, and attributes."""
        self._span.update_name(name)
        self._span.set_attributes(attributes)

    def end(self, error: str | None = None) -> None:
        """End it, as failed where there is an error."""
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()


class Tracer:
    """Records spans, and exports them in batches from a thread of its own. See `tracing.exporting`."""

    def __init__(self, endpoint: str | None) -> None:
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before the name given here.
        resource = Resource.create({SERVICE_NAME: "allocation"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(
            # What comes here is to be recorded: see `tracing.records`.
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
        """Begin a span; a parent that is no traceparent counts as none. See `tracing`."""
        # Always a context of its own: what else may be current in this task is nobody's parent.
        context = Context()
        if parent is not None:
            context = trace.set_span_in_context(trace.NonRecordingSpan(_parsed(parent)), context)
        span = self._tracer.start_span(
            name,
            context=context,
            kind=KINDS[kind],
            attributes=attributes,
            links=[trace.Link(_parsed(link)) for link in links],
        )
        return RecordedSpan(span)

    def shutdown(self) -> None:
        """Export what is left, within bounds."""
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(SHUTDOWN_TIMEOUT)
        if last.is_alive():
            # It would go on to try for half a minute.
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _parsed(traceparent: str) -> trace.SpanContext:
    """The context that a traceparent names; an invalid one, which counts as none, where it names none.

    OpenTelemetry's own parser knows a `tracestate` as well, and costs 6 µs more for each link of a group.
    """
    try:
        trace_id, span_id = int(traceparent[3:35], 16), int(traceparent[36:52], 16)
    except ValueError:
        return trace.INVALID_SPAN_CONTEXT
    return trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=SAMPLED)
