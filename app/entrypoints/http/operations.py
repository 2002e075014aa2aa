"""For those who run the service: is it alive, is it ready, what does it measure."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from app.entrypoints.http.answers import Answer
from app.entrypoints.http.identity import open_to_all
from app.entrypoints.http.problems import ProblemError, documented
from app.entrypoints.http.route import ServiceRoute
from app.observability import metrics

router = APIRouter(tags=["operations"], route_class=ServiceRoute)

READINESS_TIMEOUT = 5.0

NO_HTTP: dict[int | str, dict[str, Any]] = {400: documented("malformed-request")[400]}
"""The one refusal that every path has, whatever it does: the request is not valid HTTP."""


class Health(BaseModel):
    """How the service is."""

    status: Annotated[str, Field(description="One word.", examples=["ready"])]


@router.get(
    "/livez",
    operation_id="getLiveness",
    summary="Is the process alive?",
    response_model=Health,
    responses=NO_HTTP,
)
@open_to_all
async def livez() -> Response:
    """Answers without asking anybody. Where it does not answer, restart the process."""
    return Answer(b'{"status":"alive"}')


@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Can the service do its work?",
    response_model=Health,
    responses={**NO_HTTP, 503: documented()[503]},
)
@open_to_all
async def readyz(request: Request) -> Response:
    """Asks the database whether it takes writes, and whether its schema is the one this version needs.

    Where not, send no traffic here.
    """
    state = request.app.state
    if state.stopping:
        raise ProblemError("unavailable", "the service is stopping")
    try:
        async with asyncio.timeout(READINESS_TIMEOUT):
            fault = await state.check_database()
    except Exception as error:
        raise ProblemError("unavailable", f"the database does not answer ({type(error).__name__})") from error
    if fault is not None:
        raise ProblemError("unavailable", fault)
    return Answer(b'{"status":"ready"}')


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Prometheus metrics",
    response_class=PlainTextResponse,
    responses=NO_HTTP,
)
@open_to_all
async def get_metrics(request: Request) -> Response:
    """Everything that the process measures of itself, in the Prometheus text format.

    It is OpenMetrics 1.0 where `Accept` names `application/openmetrics-text`.
    """
    if metrics.wants_openmetrics(request.headers.get("accept", "")):
        body, content_type = metrics.openmetrics_exposition(), metrics.OPENMETRICS_CONTENT_TYPE
    else:
        body, content_type = metrics.exposition(), metrics.CONTENT_TYPE
    return Response(body, headers={"Content-Type": content_type, "Vary": "Accept"})
