"""The outermost layer of a request: its identity, its measurement, and the last net under it. Pure ASGI."""

import logging
import time
import uuid
from http import HTTPStatus

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.entrypoints.http.problems import ProblemError, respond
from app.integration.cloudevents import well_formed
from app.observability import metrics
from app.service_layer.ports import Cause

log = logging.getLogger(__name__)


class RequestContext:
    """Gives each request an id (its own X-Request-ID where it has one), counts it, and hides what went wrong inside."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = well_formed(headers.get("x-request-id")) or str(uuid.uuid4())
        correlation_id = well_formed(headers.get("x-correlation-id")) or request_id
        traceparent = well_formed(headers.get("traceparent"))
        scope.setdefault("state", {})["cause"] = Cause(request_id, correlation_id, traceparent)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request %s failed", request_id)
            if status:
                raise
            problem = ProblemError("internal-error", f"the request failed; its id in the log is {request_id}")
            await respond(scope["path"], problem)(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.perf_counter() - started
            metrics.measure_request(scope["method"], route, status or HTTPStatus.INTERNAL_SERVER_ERROR, seconds)


def cause_of(request: Request) -> Cause:
    """Where the command in this request comes from."""
    cause: Cause = request.scope["state"]["cause"]
    return cause
