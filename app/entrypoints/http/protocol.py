"""HTTP as uvicorn reads it, but with a problem for an answer where no request reaches the application."""

import asyncio
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import httptools
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.entrypoints.http import refusals
from app.entrypoints.http.body_budget import BodyBudget
from app.entrypoints.http.context import cause_of_scope
from app.entrypoints.http.problems import ProblemError, path_of
from app.entrypoints.http.refusals import Refusal
from app.entrypoints.http.request_parser import RequestParser
from app.observability import metrics

# Who asks how the service is has to learn it all the more while it is overloaded.
ALWAYS_ANSWERED = frozenset({"/livez", "/readyz", "/metrics"})

# A header costs this beside its bytes, as HTTP/2 counts it (RFC 9113, 6.5.2), so that many small ones add up.
HEADER_OVERHEAD = 32

# A connection beyond the limit has so long to ask how the service is.
SECONDS_BEYOND_LIMIT = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection may ask of this process. `read_timeout` is in seconds, from the first byte of a request."""

    header_bytes: int = 32_768
    connections: int = 8192
    read_timeout: float = 10.0
    bodies_bytes: int = 67_108_864
    """Of the bodies that are being received or handled, over all connections."""


class ProblemHttpProtocol(HttpToolsProtocol):
    """Answers what is no HTTP request with `malformed-request`, and what is one too many with `overloaded`.

    uvicorn's setting `limit_concurrency` counts requests that are being answered and not, as uvicorn has it,
    connections that may be idle. A request beyond it is answered before the application sees it: whoever is overloaded
    must be able to refuse far more requests than it can answer, or it will do nothing but refuse.

    uvicorn bounds neither the size of headers, the requests behind one that is being answered, the time that a request
    takes to arrive, nor that which a caller takes to read its answer. A timer runs only while something is waited for,
    so who sends whole requests and reads the answers has none.
    """

    limits = Limits()
    bodies = BodyBudget(limits.bodies_bytes)
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
        """Wait for the first request, not for ever."""
        super().connection_made(transport)
        self._beyond_limit = len(self.connections) > self.limits.connections
        self._start_timer(SECONDS_BEYOND_LIMIT if self._beyond_limit else self.limits.read_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers as well."""
        self._stop_timer()
        self._stop_write_timer()
        for cycle, _ in self.pipeline:
            self._release(cycle)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and see to it that what has begun to arrive arrives."""
        if self._last_word is not None:
            return
        self._began = False
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.send_400_response(f"this is not a request of HTTP/1.1: {error.__context__ or error}")
        if self._arriving:
            # The parser keeps a header to itself until it has all of it.
            if self._in_head and not self._began:
                self._unfinished_bytes += len(data)
                if self._unfinished_bytes > self.limits.header_bytes and not self.transport.is_closing():
                    self._end_with(refusals.HEADERS_TOO_LARGE)
        elif self.timeout_keep_alive_task is not None or (self._latest and not self._latest.response_complete):
            # Nothing is waited for that uvicorn does not wait for.
            return
        # Empty lines between two requests begin none, but end uvicorn's own waiting for the next.
        if self._timer is None and self._last_word is None:
            self._start_timer(self.limits.read_timeout)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._arriving = self._in_head = self._began = True
        self._head_bytes = self._unfinished_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of what is asked for. What is raised here reaches `send_400_response`."""
        super().on_url(url)
        if len(self.url) > refusals.MAX_TARGET_BYTES:
            self._refuse_arriving(refusals.URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. What is raised here reaches `send_400_response`.

        What comes behind a body in chunks is no header, and nobody has checked it as one (RFC 9110, 6.5.1).
        """
        self._head_bytes += len(name) + len(value) + HEADER_OVERHEAD
        if self._head_bytes > self.limits.header_bytes:
            self._refuse_arriving(refusals.HEADERS_TOO_LARGE)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The application, or a refusal, takes over."""
        if len(self.pipeline) >= refusals.MAX_PIPELINED:
            self._refuse_arriving(refusals.TOO_MANY_PIPELINED)
        self._in_head = False
        super().on_headers_complete()
        self._latest = self.cycle

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, where the budget allows it. What is raised here reaches `send_400_response`."""
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
            # The application waits for the rest of the body: it learns that the request is over.
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        """All of the request is here."""
        self._arriving = False
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Answer the next request; behind the last one that is read, say why it is."""
        if self._last_word is not None and not self.pipeline:
            if not self.transport.is_closing():
                self._hang_up(self._last_word)
        else:
            super().on_response_complete()

    def pause_writing(self) -> None:
        """The caller does not read: wait for that, but not for ever, whatever it sends meanwhile."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.limits.read_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """The caller reads."""
        super().resume_writing()
        self._stop_write_timer()

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong and hang up, once the requests before have been answered."""
        self._end_with(self._refusal or Refusal(ProblemError("malformed-request", msg)))

    def _refuse_arriving(self, answer: Refusal) -> None:
        self._refusal = answer
        raise ValueError(answer)

    def _is_behind_another(self) -> bool:
        """Whether a request before the one that is arriving has still to be answered."""
        if self._in_head:
            return self._latest is not None and not self._latest.response_complete
        return bool(self.pipeline)

    def _end_with(self, answer: Refusal) -> None:
        """Refuse the request that is arriving, in its turn, and read no other."""
        if not self._in_head and self.cycle.response_started:
            # It has been answered before its body was read. A second answer would be that to another request.
            self.parser.end()
            self.transport.close()
            return
        if not self._is_behind_another():
            self._hang_up(answer)
            return
        if not self._in_head:
            # It has been queued, and would never come to its end.
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
            # The caller does not read what it has asked for.
            self.transport.abort()
        elif not self._arriving:
            # No request has begun. Whoever keeps a connection ready would take an answer for that to its next request.
            self.transport.close()
        elif self._is_behind_another():
            # That one has to be answered first, and nothing may have been read meanwhile; it is bounded by itself.
            self._start_timer(seconds)
        elif not self._in_head and self.cycle.response_started:
            # It was refused without being read.
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
            if self._most_requests is not None and len(self.tasks) >= self._most_requests:
                self._refuse(cycle, refusals.OVERLOADED)
                return
        super()._start_asgi_task(cycle, partial(self._run, cycle, app))

    async def _run(self, cycle: RequestResponseCycle, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; until it ends it may hold the body."""
        try:
            await app(scope, receive, send)
        finally:
            self._release(cycle)

    def _release(self, cycle: RequestResponseCycle) -> None:
        self.bodies.release(self._held.pop(cycle, 0))

    def _refuse(self, cycle: RequestResponseCycle, answer: Refusal) -> None:
        scope: dict[str, Any] = cycle.scope  # type: ignore[assignment]
        metrics.count_request(scope["method"], "none", HTTPStatus.SERVICE_UNAVAILABLE)
        request_id = b"x-request-id: %b\r\n" % cause_of_scope(scope).causation_id.encode("latin-1")
        connection = b"keep-alive" if cycle.keep_alive else b"close"
        rendered = answer.render(path_of(scope), request_id, connection)
        if scope["method"] == "HEAD":
            # Its body would be read as the beginning of the next answer.
            rendered = rendered.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        self.transport.write(rendered)
        # What follows of the request is read and forgotten.
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


def protocol_with(most: Limits) -> type[ProblemHttpProtocol]:
    """The protocol with these limits, as uvicorn takes it."""

    class LimitedProtocol(ProblemHttpProtocol):
        limits = most
        bodies = BodyBudget(most.bodies_bytes)

    return LimitedProtocol
