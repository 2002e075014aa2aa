"""HTTP as uvicorn reads it, but with a problem for an answer where no request reaches the application."""

import json
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.entrypoints.http.context import cause_of_scope
from app.entrypoints.http.problems import ProblemError, path_of, respond
from app.observability import metrics

# Who asks how the service is has to learn it all the more while it is overloaded.
ALWAYS_ANSWERED = frozenset({"/livez", "/readyz", "/metrics"})


class ProblemHttpProtocol(HttpToolsProtocol):
    """Answers what is no HTTP request with `malformed-request`, and what is one too many with `overloaded`.

    uvicorn's setting `limit_concurrency` counts requests that are being answered and not, as uvicorn has it,
    connections that may be idle. A request beyond it is answered before the application sees it: whoever is overloaded
    must be able to refuse far more requests than it can answer, or it will do nothing but refuse.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._most_requests, self.limit_concurrency = self.limit_concurrency, None

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong and hang up."""
        self.transport.write(_Answer(ProblemError("malformed-request", msg)).render("/", b"", b"close"))
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        if (
            self._most_requests is None
            or len(self.tasks) < self._most_requests
            or cycle.scope["path"] in ALWAYS_ANSWERED
        ):
            super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]
        else:
            self._refuse(cycle)

    def _refuse(self, cycle: RequestResponseCycle) -> None:
        scope: dict[str, Any] = cycle.scope  # type: ignore[assignment]
        metrics.count_request(scope["method"], "none", HTTPStatus.SERVICE_UNAVAILABLE)
        request_id = b"x-request-id: %b\r\n" % cause_of_scope(scope).causation_id.encode("latin-1")
        connection = b"keep-alive" if cycle.keep_alive else b"close"
        self.transport.write(_OVERLOADED.render(path_of(scope), request_id, connection))
        # What follows of the request is read and forgotten.
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


class _Answer:
    """A problem as the bytes of an HTTP response, rendered once but for what differs between two requests."""

    def __init__(self, problem: ProblemError) -> None:
        mark = "{instance}"
        response = respond(mark, problem)
        before, _, after = bytes(response.body).partition(json.dumps(mark).encode())
        status = HTTPStatus(response.status_code)
        headers = b"".join(b"%b: %b\r\n" % pair for pair in response.raw_headers if pair[0] != b"content-length")
        self._head = b"HTTP/1.1 %d %b\r\n%b" % (status, status.phrase.encode(), headers)
        self._before, self._after = before, after

    def render(self, instance: str, headers: bytes, connection: bytes) -> bytes:
        """The response; `headers` are whole lines, `connection` is the header of that name."""
        body = b"%b%b%b" % (self._before, json.dumps(instance).encode(), self._after)
        return b"%b%bconnection: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            self._head,
            headers,
            connection,
            len(body),
            body,
        )


_OVERLOADED = _Answer(ProblemError("overloaded", "too many requests are being answered; try again in a moment"))
