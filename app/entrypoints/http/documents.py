"""The documents of the service for browsers. They need nothing from the internet."""

import json
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException

from app.entrypoints.http.answers import Answer
from app.entrypoints.http.asyncapi_page import CONTENT_SECURITY_POLICY, asyncapi_page
from app.entrypoints.http.identity import open_to_all
from app.entrypoints.http.problem_pages import problem_page
from app.entrypoints.http.problems import KINDS
from app.entrypoints.http.route import ServiceRoute
from app.integration.asyncapi import asyncapi_document

router = APIRouter(route_class=ServiceRoute, include_in_schema=False)

# Vendored by requirements/vendor-swagger-ui, with its version and licence.
SWAGGER_FILES = {file.name: file for file in (Path(__file__).parent / "static" / "swagger-ui").iterdir()}


@router.get("/")
@open_to_all
async def get_root() -> Response:
    """Redirects to the documentation of the API."""
    return RedirectResponse("/docs")


@router.get("/problems/{code}")
@open_to_all
async def get_problem_page(code: str) -> Response:
    """The page that the `type` of a problem refers to."""
    if code not in KINDS:
        raise HTTPException(404)
    return HTMLResponse(problem_page(code), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@router.get("/docs")
@open_to_all
async def get_docs() -> Response:
    """Swagger UI over the OpenAPI document."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Allocation",
        swagger_js_url="/docs/static/swagger-ui-bundle.js",
        swagger_css_url="/docs/static/swagger-ui.css",
        swagger_favicon_url="/docs/static/favicon.png",
    )


@router.get("/docs/static/{name}")
@open_to_all
async def get_docs_file(name: str) -> Response:
    """A file of Swagger UI."""
    if name not in SWAGGER_FILES:
        raise HTTPException(404)
    return FileResponse(SWAGGER_FILES[name], headers={"Cache-Control": "public, max-age=3600"})


@router.get("/asyncapi")
@open_to_all
async def get_asyncapi_page() -> Response:
    """The AsyncAPI document as a page."""
    return HTMLResponse(_asyncapi_page(), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@router.get("/asyncapi.json")
@open_to_all
async def get_asyncapi() -> Response:
    """The AsyncAPI document as JSON."""
    return Answer(_asyncapi_json())


@cache
def _asyncapi_page() -> str:
    return asyncapi_page(asyncapi_document())


@cache
def _asyncapi_json() -> bytes:
    return json.dumps(asyncapi_document()).encode()
