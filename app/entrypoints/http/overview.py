"""What a person looks for: what needs action, what happened today, and the search by name."""

from fastapi import APIRouter, Request, Response

from app.entrypoints.http.answers import ACTIVITY, FOUND, OVERVIEW, PRODUCT_PAGE, Answer
from app.entrypoints.http.identity import needs
from app.entrypoints.http.problems import documented
from app.entrypoints.http.query import DEFAULT_ITEMS, Limit, Prefix
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.services import queries_of
from app.read_model.activity import Activity
from app.read_model.lists import ProductPage
from app.read_model.overview import Overview
from app.read_model.search import Found

router = APIRouter(prefix="/v1", tags=["operations"], route_class=ServiceRoute)


@router.get(
    "/overview",
    operation_id="getOverview",
    summary="Count what needs action",
    response_model=Overview,
    response_description="The counts.",
    responses=documented("invalid-request"),
)
@needs("read")
async def get_overview(request: Request) -> Response:
    """Counts products that are low on stock or sold out, backorders by age, late batches, holds and dead letters.

    The day is that of the time zone of the service (`ALLOCATION_TIME_ZONE`, UTC unless it is set).
    A count stops after 10,000 items or events; then `count_is_exact` is false and the count is a lower bound.
    """
    return Answer(OVERVIEW.dump_json(await queries_of(request).overview()))


@router.get(
    "/shortages",
    operation_id="listShortages",
    summary="List what to buy first",
    response_model=ProductPage,
    response_description="The first products. There is one page: `next_cursor` is null.",
    responses=documented("invalid-request"),
)
@needs("read")
async def list_shortages(request: Request, limit: Limit = DEFAULT_ITEMS) -> Response:
    """Lists products with backorders, then products below their reorder point.

    The first product is the one for which most pieces wait; of those below their reorder point, the one that lacks most
    pieces to it. At most 10,000 products of each kind are compared, those with the first SKUs.
    """
    return Answer(PRODUCT_PAGE.dump_json(await queries_of(request).lists.shortages(limit=limit)))


@router.get(
    "/activity",
    operation_id="getActivity",
    summary="Get what happened today",
    response_model=Activity,
    response_description="The events of today by the hour, and the newest ones.",
    responses=documented("invalid-request"),
)
@needs("read")
async def get_activity(request: Request) -> Response:
    """Counts the allocations, backorders and arrivals of today by the hour, and returns the newest 20 events.

    The day begins at midnight in the time zone of the service (`ALLOCATION_TIME_ZONE`, UTC unless it is set). At most
    the newest 50,000 events are counted; hours before them are not in the list.
    """
    return Answer(ACTIVITY.dump_json(await queries_of(request).activity()))


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
