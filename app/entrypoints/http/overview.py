"""What a person looks for: the overview of what needs action, and the search by name."""

from fastapi import APIRouter, Request, Response

from app.entrypoints.http.answers import FOUND, OVERVIEW, Answer
from app.entrypoints.http.identity import needs
from app.entrypoints.http.problems import documented
from app.entrypoints.http.query import Prefix
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.services import queries_of
from app.read_model.overview import Overview
from app.read_model.search import Found

router = APIRouter(prefix="/v1", tags=["operations"], route_class=ServiceRoute)


@router.get(
    "/overview",
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


@router.get(
    "/search",
    operation_id="search",
    summary="Search by name",
    response_model=Found,
    response_description="The first names of each kind.",
    responses=documented("invalid-request", "uri-too-long"),
)
@needs("read")
async def search(request: Request, prefix: Prefix) -> Response:
    """Returns up to 10 order ids, 10 SKUs and 10 batch refs that begin with the prefix. Case counts."""
    return Answer(FOUND.dump_json(await queries_of(request).search(prefix)))
