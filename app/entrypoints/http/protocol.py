"""uvicorn's HTTP protocol with limits. Requests that do not reach the application get a problem as their response."""

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import httptools
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.entrypoints.http import refusals
from app.entrypoints.http.body_budget import BodyBudget
from app.entrypoints.http.context import cause_of_headers
from app.entrypoints.http.limits import Limits
from app.entrypoints.http.problems import ProblemError, path_of
from app.entrypoints.http.refusals import Refusal
from app.entrypoints.http.request_parser import RequestParser
from app.observability import metrics

# Probes are answered even under overload.
ALWAYS_ANSWERED = frozenset({"/livez", "/readyz", "/metrics"})

# Added to the size of each header, as in HTTP/2 (RFC 9113, 6.5.2), so that many small headers reach the limit too.
HEADER_OVERHEAD = 32

# The read timeout of a connection beyond the limit, which can only be used by a probe.
SECONDS_BEYOND_LIMIT = 1.0


class ProblemHttpProtocol(HttpToolsProtocol):
    """Refuses malformed requests with `malformed-request`, and requests beyond the limits with `overloaded`.

    Here uvicorn's setting `limit_concurrency` limits running requests; in uvicorn it limits connections, even idle
    ones. A request beyond it is refused before the application is called, because refusing has to cost far less than
    answering: otherwise an overloaded process would do nothing but refuse.

    uvicorn does not limit the size of headers, the number of pipelined requests, the time in which a request has to
    arrive, and the time in which a caller has to read the response. A timer runs only while the process waits for a
    caller, so that complete requests need none.
    """

    limits = Limits()
    bodies = BodyBudget(limits.bodies_bytes)
    count_streams: Callable[[], int] = staticmethod(lambda: 0)
    parser: RequestParser  # type: ignore[assignment]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser = RequestParser(self)
        self._most_requests, self.limit_concurrency = self.limit_concurrency, None
        self._refusal: Refusal | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._last_word: Refusal | None = None
        self._latest: RequestResponseCycle | None = None
        self._arriving = False
        self._in_head = True
        self._began = False
        self._head_bytes = 0
        self._unfinished_bytes = 0
        self._beyond_limit = False
        self._held: dict[RequestResponseCycle, int] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request, up to the read timeout."""
        super().connection_made(transport)
        self._beyond_limit = len(self.connections) > self.limits.connections
        self._start_timer(SECONDS_BEYOND_LIMIT if self._beyond_limit else self.limits.read_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, and release the bodies of pipelined requests."""
        self._stop_timer()
        self._stop_write_timer()
        for cycle, _ in self.pipeline:
            self._release(cycle)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data, and run the read timer while a request is incomplete."""
        if self._last_word is not None:
            return
        self._began = False
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.send_400_response(f"this is not an HTTP/1.1 request: {error.__context__ or error}")
        if self._arriving:
            # The parser does not report a header before it is complete.
            if self._in_head and not self._began:
                self._unfinished_bytes += len(data)
                if self._unfinished_bytes > self.limits.header_bytes and not self.transport.is_closing():
                    self._end_with(refusals.HEADERS_TOO_LARGE)
        elif self.timeout_keep_alive_task is not None or (self._latest and not self._latest.response_complete):
            # uvicorn's own timer runs, or a response is in progress.
            return
        # Empty lines between two requests do not begin a request, but stop uvicorn's timer for the next one.
        if self._timer is None and self._last_word is None:
            self._start_timer(self.limits.read_timeout)

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self._arriving = self._in_head = self._began = True
        self._head_bytes = self._unfinished_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Add a part of the request target. An error that is raised here reaches `send_400_response`."""
        super().on_url(url)
        if len(self.url) > refusals.MAX_TARGET_BYTES:
            self._refuse_arriving(refusals.URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header. An error that is raised here reaches `send_400_response`.

        Trailers after a chunked body are dropped, because they are not validated as headers (RFC 9110, 6.5.1).
        """
        self._head_bytes += len(name) + len(value) + HEADER_OVERHEAD
        if self._head_bytes > self.limits.header_bytes:
            self._refuse_arriving(refusals.HEADERS_TOO_LARGE)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, unless too many are pipelined."""
        if len(self.pipeline) >= refusals.MAX_PIPELINED:
            self._refuse_arriving(refusals.TOO_MANY_PIPELINED)
        self._in_head = False
        super().on_headers_complete()
        self._latest = self.cycle

    def on_body(self, body: bytes) -> None:
        """Add a part of the body, if the budget allows it. An error that is raised here reaches `send_400_response`."""
        cycle = self.cycle
        if cycle.response_started:
            return
        held = self._held.get(cycle, 0)
        if self.bodies.take(len(body), held):
            self._held[cycle] = held + len(body)
            super().on_body(body)
        elif self._is_behind_another():
            self._refuse_arriving(refusals.BODIES_TOO_LARGE)
        else:
            self._refuse(cycle, refusals.BODIES_TOO_LARGE)
            # Wakes the application, which waits for the rest of the body.
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Note that the request is complete."""
        self._arriving = False
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with the next request. After the last one, send the pending refusal and close."""
        if self._last_word is not None and not self.pipeline:
            if not self.transport.is_closing():
                self._hang_up(self._last_word)
        else:
            super().on_response_complete()

    def pause_writing(self) -> None:
        """Start the write timer: the caller does not read its response."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.limits.read_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the write timer."""
        super().resume_writing()
        self._stop_write_timer()

    def send_400_response(self, msg: str) -> None:
        """Send the refusal after the responses to earlier requests, and close the connection."""
        self._end_with(self._refusal or Refusal(ProblemError("malformed-request", msg)))

    def _refuse_arriving(self, answer: Refusal) -> None:
        self._refusal = answer
        raise ValueError(answer)

    def _is_behind_another(self) -> bool:
        """Whether an earlier request has not been answered yet."""
        if self._in_head:
            return self._latest is not None and not self._latest.response_complete
        return bool(self.pipeline)

    def _end_with(self, answer: Refusal) -> None:
        """Refuse the arriving request after the responses to earlier ones, and read no further request."""
        if not self._in_head and self.cycle.response_started:
            # It was answered before its body arrived. A second response would be taken for that to the next request.
            self.parser.end()
            self.transport.close()
            return
        if not self._is_behind_another():
            self._hang_up(answer)
            return
        if not self._in_head:
            # It is in the pipeline, and would never be complete.
            self._release(self.pipeline.popleft()[0])
        self._stop_timer()
        self._last_word = answer

    def _hang_up(self, answer: Refusal) -> None:
        metrics.count_request("none", "none", answer.status)
        self.parser.end()
        self.transport.write(answer.render("/", b"", b"close"))
        self.transport.close()

    def _start_timer(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._time_is_up, seconds)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _time_is_up(self, seconds: float) -> None:
        self._timer = None
        if self.transport.is_closing():
            # The caller does not read its response.
            self.transport.abort()
        elif not self._arriving:
            # No request has begun. The caller would take a response for that to its next request.
            self.transport.close()
        elif self._is_behind_another():
            # The earlier request is answered first; its own deadline limits it.
            self._start_timer(seconds)
        elif not self._in_head and self.cycle.response_started:
            # It was refused before its body arrived.
            self.transport.close()
        else:
            self._hang_up(refusals.TOO_SLOW)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        if self._beyond_limit:
            cycle.keep_alive = False
            self.parser.end()
        if cycle.scope["path"] not in ALWAYS_ANSWERED:
            if self._beyond_limit:
                self._refuse(cycle, refusals.TOO_MANY_CONNECTIONS)
                return
            if self._most_requests is not None and len(self.tasks) - self.count_streams() >= self._most_requests:
                self._refuse(cycle, refusals.OVERLOADED)
                return
        super()._start_asgi_task(cycle, partial(self._run, cycle, app))

    async def _run(self, cycle: RequestResponseCycle, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and release the body when it ends."""
        try:
            await app(scope, receive, send)
        finally:
            self._release(cycle)

    def _release(self, cycle: RequestResponseCycle) -> None:
        self.bodies.release(self._held.pop(cycle, 0))

    def _refuse(self, cycle: RequestResponseCycle, answer: Refusal) -> None:
        scope: dict[str, Any] = cycle.scope  # type: ignore[assignment]
        metrics.count_request(scope["method"], "none", HTTPStatus.SERVICE_UNAVAILABLE)
        request_id = b"x-request-id: %b\r\n" % cause_of_headers(dict(scope["headers"])).causation_id.encode("latin-1")
        connection = b"keep-alive" if cycle.keep_alive else b"close"
        rendered = answer.render(path_of(scope), request_id, connection)
        if scope["method"] == "HEAD":
            # The caller would read a body as the beginning of the next response.
            rendered = rendered.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        self.transport.write(rendered)
        # The rest of the request is read and dropped.
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


def protocol_with(most: Limits, streams: Callable[[], int]) -> type[ProblemHttpProtocol]:
    """A protocol class with these limits; uvicorn creates an instance for each connection.

    `streams` returns the number of open streams, which do not count as running requests.
    """

    class LimitedProtocol(ProblemHttpProtocol):
        limits = most
        bodies = BodyBudget(most.bodies_bytes)
        count_streams = staticmethod(streams)

    return LimitedProtocol
