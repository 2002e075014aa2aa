"""The overview: what needs action."""

from fastapi import APIRouter, Request, Response

from app.entrypoints.http.answers import OVERVIEW, Answer
from app.entrypoints.http.identity import needs
from app.entrypoints.http.problems import documented
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.services import queries_of
from app.read_model.overview import Overview

router = APIRouter(prefix="/v1/overview", tags=["operations"], route_class=ServiceRoute)


@router.get(
    "",
    operation_id="getOverview",
    summary="Count what needs action",
    response_model=Overview,
    response_description="The counts, all of one moment.",
    responses=documented("invalid-request"),
)
@needs("read")
async def get_overview(request: Request) -> Response:
    """Counts products that are low on stock or sold out, backorders by age, late batches, holds and dead letters.

    A count stops after 10,000 items or events; then `count_is_exact` is false and the count is a lower bound.
    """
    return Answer(OVERVIEW.dump_json(await queries_of(request).overview()))
