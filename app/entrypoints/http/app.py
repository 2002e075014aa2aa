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
Allocates order lines to batches of stock: what stands in the warehouse first, then what arrives earliest.

Every answer comes after the commit. Every request may be sent again safely. Errors are `application/problem+json`
(RFC 9457) with a stable `code`; a 429 or 503 bears `Retry-After`. What the service decides leaves as events on Kafka;
see [the AsyncAPI document](/asyncapi).

A body is JSON as RFC 8259 defines it, in UTF-8. NaN, Infinity, a byte order mark, a lone surrogate, and an object that
has the same name twice are refused with `malformed-body`, and nothing of such a request takes effect. Every default
that this document states may be sent explicitly.

A body is sent as it is: with a `Content-Encoding` other than `identity` it is refused with 415 and `Accept-Encoding`.
`Content-Type`, `Content-Length`, `Idempotency-Key`, `Host`, `X-Request-ID`, `X-Correlation-ID` and `traceparent` may
occur once; a request that has one of them twice is refused with 400 `malformed-request`. An offer of another protocol
(`Upgrade`) is ignored.

HEAD is answered wherever GET is, with the same headers and without the body. Answers bear `Cache-Control: no-store` and
`X-Content-Type-Options: nosniff`.

Each operation under `/v1` names the scope that its caller needs: `orders:write`, `stock:write` or `read`. Whether
callers are known by tokens or by API keys, or need neither, is the installation's choice.

Answers to POST, PUT, PATCH and DELETE are always about the present. Where the operator has GET requests answered by a
replica of the database, those may be about a moment ago: just after a 201 a GET may still say 404, or show the state
from before. Take the answer to the write itself, send the same write again (it changes nothing and answers with what is
there), or ask again.
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
