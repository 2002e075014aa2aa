"""The HTTP application with its routes and its OpenAPI document."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from app.entrypoints.http import (
    allocations,
    backorders,
    batches,
    bulk,
    carts,
    documents,
    events,
    operations,
    orders,
    overview,
    products,
)
from app.entrypoints.http.board import downloads, pages, sessions
from app.entrypoints.http.context import RequestContext
from app.entrypoints.http.openapi import openapi_document
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.services import HttpServices

DESCRIPTION = """\
Allocates order lines to batches of stock: the warehouse first, then the earliest ETA, then the goods that expire first.

Each response is sent after the commit. Every request can be repeated safely. Errors are `application/problem+json`
(RFC 9457) with a stable `code`; a 429 or 503 has `Retry-After`. Changes are published as events on Kafka; see
[the AsyncAPI document](/asyncapi).

A body is JSON as RFC 8259 defines it, in UTF-8. NaN, Infinity, a byte order mark, a lone surrogate and an object with a
duplicate name are refused with `malformed-body`, and no part of such a request takes effect. Every default in this
document can also be sent explicitly.

Bodies are not compressed: a `Content-Encoding` other than `identity` is refused with 415 and `Accept-Encoding`.
`Content-Type`, `Content-Length`, `Idempotency-Key`, `Host`, `X-Request-ID`, `X-Correlation-ID` and `traceparent` can
occur once; a request that repeats one of them is refused with 400 `malformed-request`. An offer of another protocol
(`Upgrade`) is ignored.

HEAD is supported wherever GET is, with the same headers and without the body. Responses have `Cache-Control: no-store`
and `X-Content-Type-Options: nosniff`.

Each operation under `/v1` names the scope that its caller needs: `orders:write`, `stock:write` or `read`. The operator
configures whether callers authenticate with tokens, with API keys, or not at all.

Responses to POST, PUT, PATCH and DELETE always have the current state. If the operator has configured a read replica,
GET requests are answered by it and can be slightly behind: just after a 201, a GET can still return 404 or the previous
state. Use the response to the write, repeat the write (it changes nothing and returns the current state), or repeat the
GET.
"""

ROUTERS = (
    allocations.router,
    orders.router,
    batches.router,
    products.router,
    carts.router,
    backorders.router,
    bulk.router,
    overview.router,
    events.router,
    operations.router,
    documents.router,
    downloads.router,
    pages.router,
    sessions.router,
)


class Application(FastAPI):
    """FastAPI with RequestContext as its only middleware. It replaces the eight layers of FastAPI around a route."""

    def build_middleware_stack(self) -> ASGIApp:
        """RequestContext around the routes."""
        return RequestContext(PathTable(self.router))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run the lifespan."""
        scope["app"] = self
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        await self.middleware_stack(scope, receive, send)


class PathTable:
    """Finds routes without path parameters by path and method. The router finds the others, and refuses the rest."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._routes = {
            (route.path, method): route
            for route in reversed(router.routes)
            if isinstance(route, ServiceRoute) and "{" not in route.path
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the route of the request."""
        route = self._routes.get((scope["path"], scope["method"])) if scope["type"] == "http" else None
        if route is None:
            await self._router(scope, receive, send)
            return
        scope["route"], scope["path_params"] = route, {}
        await route.app(scope, receive, send)


def create_app(lifespan: Callable[[], AbstractAsyncContextManager[None]], services: HttpServices) -> FastAPI:
    """The ASGI application. `lifespan` is entered while it serves."""

    @asynccontextmanager
    async def run(_: FastAPI) -> AsyncIterator[None]:
        async with lifespan():
            yield

    app = Application(
        title="Allocation",
        version=version("allocation"),
        description=DESCRIPTION,
        lifespan=run,
        docs_url=None,
        redoc_url=None,
        # FastAPI's spans and logs would contain what callers send. `RequestContext` has those of the service.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        redirect_slashes=False,
    )
    app.state.services = services

    for router in ROUTERS:
        # A flat list with the most used routes first: FastAPI would search each included router in turn.
        app.router.routes.extend(router.routes)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, generated once."""
    if app.openapi_schema is None:
        app.openapi_schema = openapi_document(app)
    return app.openapi_schema
