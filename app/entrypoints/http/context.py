"""The outermost ASGI layer of a request: its ids, its metrics and span, and the response to unexpected errors."""

import itertools
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.entrypoints.http.headers import protect, refuse_repeated
from app.entrypoints.http.problems import ProblemError, path_of, respond
from app.entrypoints.http.services import services_of
from app.integration.cloudevents import well_formed
from app.observability import logging as observed
from app.observability import metrics, tracing
from app.observability.tracing import Span
from app.service_layer.ports import Cause

log = logging.getLogger(__name__)

# nginx's status for a caller that disconnected before the response.
CLIENT_CLOSED_REQUEST = 499

# A random prefix for the process, and a counter: as unique as UUIDs, in a tenth of the time.
_request_ids = map(f"{uuid.uuid4().hex[:20]}-{{:x}}".format, itertools.count(1))


class RequestContext:
    """Gives each request an id (its X-Request-ID, if it has one), measures it, and hides internal errors.

    HEAD is handled as GET (RFC 9110, 9.3.2). uvicorn leaves out the body, because its own scope still has HEAD.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        method = scope["method"]
        state = scope.setdefault("state", {})
        headers = state["headers_by_name"] = dict(scope["headers"])
        if method == "HEAD":
            scope = {**scope, "method": "GET"}
            state["is_head"] = True
        cause = cause_of_headers(headers)
        request_id = cause.causation_id
        caller_traces = cause.traceparent is not None
        span = _start_span(scope, cause) if tracing.records(cause.traceparent) else None
        if span is not None:
            cause = replace(cause, traceparent=span.traceparent)
        observed.bind(cause)
        state["cause"] = cause
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = message.setdefault("headers", [])
                answered.append((b"x-request-id", request_id.encode("latin-1")))
                answered.extend(state.get("headers", ()))
                protect(answered)
            await send(message)

        try:
            refuse_repeated(scope["headers"], headers)
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST
        except Exception as error:
            problem = _problem_of(error, scope) or _fault(error, request_id)
            if status:
                raise
            await respond(path_of(scope), problem)(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.perf_counter() - started
            status = status or HTTPStatus.INTERNAL_SERVER_ERROR
            # The time of a request that waits for events would hide that of the others.
            metrics.measure_request(method, route, status, None if "is_waiting" in scope["state"] else seconds)
            # A span that is not ended is not exported, so unauthenticated callers cannot fill the collector.
            if span is not None and (not caller_traces or _may_trace(scope)):
                _end_span(span, method, route, status)


def _start_span(scope: Scope, cause: Cause) -> Span | None:
    """The span of a request; None for probes and documents, which are not traced."""
    if not scope["path"].startswith("/v1/"):
        return None
    attributes = {
        "http.request.method": scope["method"],
        "url.scheme": scope["scheme"],
        "url.path": scope["path"],
        "allocation.request_id": cause.causation_id,
        "allocation.correlation_id": cause.correlation_id,
    }
    return tracing.start("server", scope["method"], cause.traceparent, attributes)


def _may_trace(scope: Scope) -> bool:
    """Whether the caller may have the request traced: it is authenticated, or the service does not authenticate."""
    return scope["state"]["cause"].principal is not None or not services_of(scope).gate.knows_callers


def _end_span(span: Span, method: str, route: str, status: int) -> None:
    span.note(f"{method} {route}", {"http.route": route, "http.response.status_code": int(status)})
    span.end(str(int(status)) if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None)


def _problem_of(error: Exception, scope: Scope) -> ProblemError | None:
    """The problem of an error outside the routes; None if it is not the caller's."""
    match error:
        case ProblemError():
            return error
        case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED):
            allowed = ", ".join(sorted(_methods_of(scope)))
            detail = f"{path_of(scope)} supports {allowed}"
            return ProblemError("method-not-allowed", detail, headers={"Allow": allowed})
        case HTTPException(status_code=HTTPStatus.NOT_FOUND):
            return ProblemError("not-found", f"{path_of(scope)} does not exist; see /docs")
        case HTTPException():
            return ProblemError("invalid-request", str(error.detail), faults=[])
        case _:
            return None


def _fault(error: Exception, request_id: str) -> ProblemError:
    """The problem of an error of the service. The error itself is only logged."""
    log.error("request %s failed", request_id, exc_info=error)
    return ProblemError("internal-error", f"the request failed; its request id in the log is {request_id}")


def _methods_of(scope: Scope) -> set[str]:
    """The methods of all routes at the path. Starlette names those of the first route only."""
    methods: set[str] = set()
    for route in scope["app"].routes:
        match, _ = route.matches(scope)
        if match is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return methods | {"HEAD"} if "GET" in methods else methods


def cause_of_headers(headers: Mapping[bytes, bytes]) -> Cause:
    """The ids in the request's headers, or new ones."""
    request_id = _text(headers.get(b"x-request-id")) or next(_request_ids)
    return Cause(
        causation_id=request_id,
        correlation_id=_text(headers.get(b"x-correlation-id")) or request_id,
        traceparent=_text(headers.get(b"traceparent")),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else well_formed(value.decode("latin-1"))


def cause_of(request: Request) -> Cause:
    """The cause of the command in this request."""
    cause: Cause = request.scope["state"]["cause"]
    return cause
