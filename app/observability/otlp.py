"""OpenTelemetry behind `tracing`: imported only where traces are exported."""

import threading
from collections.abc import Iterable

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.observability.tracing import Attributes, Kind

KINDS: dict[Kind, trace.SpanKind] = {
    "server": trace.SpanKind.SERVER,
    "internal": trace.SpanKind.INTERNAL,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}
# As many as a group may have requests; the SDK's default of 128 would drop the others.
MAX_LINKS = 1000
QUEUE_SIZE = 8192
EXPORT_TIMEOUT = 5.0
SHUTDOWN_TIMEOUT = 3.0
"""Seconds that the last spans may take at the end. A collector that is away must not keep a process from stopping."""


class RecordedSpan:
    """Implements `tracing.Span`; one that was not sampled has a traceparent as well, which says so."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: trace.Span) -> None:
        context = span.get_span_context()
        self._span = span
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def note(self, name: str, attributes: Attributes) -> None:
        """Give it a better name, and attributes."""
        if self._span.is_recording():
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

    def __init__(self, endpoint: str | None, ratio: float) -> None:
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before the name given here.
        resource = Resource.create({SERVICE_NAME: "allocation"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=resource,
            span_limits=SpanLimits(max_links=MAX_LINKS),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(
            endpoint=None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE_SIZE))
        self._tracer = self._provider.get_tracer("allocation")
        self._propagator = TraceContextTextMapPropagator()

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
        return RecordedSpan(
            self._tracer.start_span(
                name,
                context=self._context(parent),
                kind=KINDS[kind],
                attributes=attributes,
                links=[trace.Link(trace.get_current_span(self._context(link)).get_span_context()) for link in links],
            )
        )

    def shutdown(self) -> None:
        """Export what is left, within bounds."""
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(SHUTDOWN_TIMEOUT)

    def _context(self, traceparent: str | None) -> Context:
        # Always a context of its own: what else may be current in this task is nobody's parent.
        return (
            Context()
            if traceparent is None
            else self._propagator.extract({"traceparent": traceparent}, context=Context())
        )
