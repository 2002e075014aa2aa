"""Endpoints for operators: liveness, readiness and metrics."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from app.entrypoints.http.answers import Answer
from app.entrypoints.http.identity import open_to_all
from app.entrypoints.http.problems import ProblemError, documented
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.services import services_of
from app.observability import metrics

router = APIRouter(tags=["operations"], route_class=ServiceRoute)

READINESS_TIMEOUT = 5.0

NO_HTTP: dict[int | str, dict[str, Any]] = {400: documented("malformed-request")[400]}
"""The problem that every path can return: the request is not valid HTTP."""


class Health(BaseModel):
    """The health of the service."""

    status: Annotated[str, Field(description="`alive` or `ready`.", examples=["ready"])]


@router.get(
    "/livez",
    operation_id="getLiveness",
    summary="Check that the process is alive",
    response_model=Health,
    responses=NO_HTTP,
)
@open_to_all
async def livez() -> Response:
    """Checks nothing but the process itself. If there is no response, restart the process."""
    return Answer(b'{"status":"alive"}')


@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Check that the service is ready",
    response_model=Health,
    responses={**NO_HTTP, 503: documented()[503]},
)
@open_to_all
async def readyz(request: Request) -> Response:
    """Checks that the database accepts writes and has the schema that this version needs.

    If the response is 503, send no traffic to this process.
    """
    services = services_of(request.scope)
    if services.is_stopping:
        raise ProblemError("unavailable", "the service is stopping")
    try:
        async with asyncio.timeout(READINESS_TIMEOUT):
            fault = await services.check_database()
    except Exception as error:
        raise ProblemError("unavailable", "the database does not respond") from error
    if fault is not None:
        raise ProblemError("unavailable", fault)
    return Answer(b'{"status":"ready"}')


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Get Prometheus metrics",
    response_class=PlainTextResponse,
    responses=NO_HTTP,
)
@open_to_all
async def get_metrics(request: Request) -> Response:
    """Returns the metrics of the process in the Prometheus text format.

    If `Accept` includes `application/openmetrics-text`, the format is OpenMetrics 1.0.
    """
    if metrics.wants_openmetrics(request.headers.get("accept", "")):
        body, content_type = metrics.openmetrics_exposition(), metrics.OPENMETRICS_CONTENT_TYPE
    else:
        body, content_type = metrics.exposition(), metrics.CONTENT_TYPE
    return Response(body, headers={"Content-Type": content_type, "Vary": "Accept"})
