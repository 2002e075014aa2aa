"""The HTTP application: its routes, what it answers where no route does, and its document."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.entrypoints.http import allocations, batches, operations, products
from app.entrypoints.http.context import RequestContext
from app.entrypoints.http.problems import Problem, ProblemError, on_problem, path_of, respond
from app.read_model.queries import Queries
from app.service_layer.messagebus import MessageBus

DESCRIPTION = """\
Allocates order lines to batches of stock: what stands in the warehouse first, then what arrives earliest.

Every answer comes after the commit. Every request may be sent again safely. Errors are `application/problem+json`
(RFC 9457) with a stable `code`; a 503 bears `Retry-After`. What the service decides leaves as events on Kafka; see the
AsyncAPI document.
"""

ROUTERS = (allocations.router, batches.router, products.router, operations.router)
SWAGGER_FILES = Path(fastapi_offline.__file__).parent / "static"


def create_app(
    lifespan: Callable[[], AbstractAsyncContextManager[None]],
    *,
    bus: MessageBus,
    queries: Queries,
    check_schema: Callable[[], Awaitable[str | None]],
    deadline: float = 8.0,
    max_body_bytes: int = 65_536,
) -> FastAPI:
    """The ASGI application. `lifespan` runs what has to run while it serves; `deadline` is in seconds.

    `check_schema` says what is wrong with the database's schema, or None, and raises where the database is away.
    """

    @asynccontextmanager
    async def run(_: FastAPI) -> AsyncIterator[None]:
        async with lifespan():
            yield

    app = FastAPI(
        title="Allocation",
        version=version("allocation"),
        description=DESCRIPTION,
        lifespan=run,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.bus = bus
    app.state.queries = queries
    app.state.check_schema = check_schema
    app.state.deadline = deadline
    app.state.max_body_bytes = max_body_bytes
    app.state.stopping = False

    for router in ROUTERS:
        # Flat, and the most used first: FastAPI would ask each included router in turn.
        app.router.routes.extend(router.routes)
    app.add_api_route("/docs", _docs, include_in_schema=False)
    app.add_api_route("/docs/static/{name}", _docs_file, include_in_schema=False)
    app.add_middleware(RequestContext)
    app.add_exception_handler(ProblemError, on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


async def _docs() -> Response:
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Allocation",
        swagger_js_url="/docs/static/swagger-ui-bundle.js",
        swagger_css_url="/docs/static/swagger-ui.css",
        swagger_favicon_url="/docs/static/favicon.png",
    )


async def _docs_file(name: str) -> Response:
    if name not in {file.name for file in SWAGGER_FILES.iterdir()}:
        raise HTTPException(404)
    return FileResponse(SWAGGER_FILES / name)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """What Starlette answers by itself: no such path, or no such method on it."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type alone
    path = path_of(request.scope)
    if error.status_code == 405:  # noqa: PLR2004 - there is no clearer name for it
        allowed = sorted(_methods_of(request))
        detail = f"{path} takes {', '.join(allowed)}"
        return respond(path, ProblemError("method-not-allowed", detail, headers={"Allow": ", ".join(allowed)}))
    if error.status_code == 404:  # noqa: PLR2004 - see above
        return respond(path, ProblemError("not-found", f"there is nothing at {path}; see /docs"))
    return respond(path, ProblemError("invalid-request", str(error.detail), faults=[]))


def _methods_of(request: Request) -> set[str]:
    """The methods of all routes at the path: Starlette itself names those of the first one only."""
    methods: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return methods


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The document, made once, with problems in place of FastAPI's own description of a 422."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=[
                {"name": "batches", "description": "Stock that was bought together."},
                {"name": "allocations", "description": "Order lines and the batches that serve them."},
                {"name": "products", "description": "A product as a whole."},
                {"name": "operations", "description": "For those who run the service."},
            ],
        )
        schemas = document["components"]["schemas"]
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs"))
        schemas["Problem"] = problem
        app.openapi_schema = document
    return app.openapi_schema
