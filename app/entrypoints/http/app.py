"""The HTTP application: its routes and its document."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from app.entrypoints.http import allocations, backorders, batches, bulk, documents, operations, orders, products
from app.entrypoints.http.context import RequestContext
from app.entrypoints.http.identity import Gate
from app.entrypoints.http.openapi import openapi_document
from app.read_model.queries import Queries
from app.service_layer.messagebus import MessageBus

DESCRIPTION = """\
Allocates order lines to batches of stock: from the warehouse first, then from the batch with the earliest ETA.

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
    backorders.router,
    bulk.router,
    operations.router,
    documents.router,
)


class Application(FastAPI):
    """FastAPI with one layer around its routes in place of its six: none of them has anything to do here."""

    def build_middleware_stack(self) -> ASGIApp:
        """The routes inside `RequestContext`."""
        return RequestContext(self.router)


def create_app(
    lifespan: Callable[[], AbstractAsyncContextManager[None]],
    *,
    bus: MessageBus,
    queries: Queries,
    check_database: Callable[[], Awaitable[str | None]],
    gate: Gate,
    deadline: float = 8.0,
    max_body_bytes: int = 65_536,
    max_bulk_body_bytes: int = 1_048_576,
) -> FastAPI:
    """The ASGI application. `lifespan` runs what has to run while it serves; `deadline` is in seconds.

    `gate` lets requests pass. `check_database` says why the service cannot do its work on the database, or None, and
    raises where the database is away.
    """

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
        # FastAPI's own spans and logs, which would quote what was sent: `RequestContext` has ours.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        redirect_slashes=False,
    )
    app.state.bus = bus
    app.state.queries = queries
    app.state.check_database = check_database
    app.state.gate = gate
    app.state.deadline = deadline
    app.state.max_body_bytes = max_body_bytes
    app.state.max_bulk_body_bytes = max_bulk_body_bytes
    app.state.stopping = False

    for router in ROUTERS:
        # Flat, and the most used first: FastAPI would ask each included router in turn.
        app.router.routes.extend(router.routes)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = openapi_document(app)
    return app.openapi_schema
