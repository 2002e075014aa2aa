"""Backorders: order lines that wait for stock."""

from fastapi import APIRouter, Request, Response

from app.domain.fields import LEFT_OUT
from app.entrypoints.http.answers import BACKORDER_PAGE, Answer
from app.entrypoints.http.identity import needs
from app.entrypoints.http.problems import documented
from app.entrypoints.http.query import DEFAULT_ITEMS, Cursor, Limit, SkuFilter, SortBackorders
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.services import queries_of
from app.read_model.lists import BackorderPage

router = APIRouter(prefix="/v1/backorders", tags=["allocations"], route_class=ServiceRoute)


@router.get(
    "",
    operation_id="listBackorders",
    summary="List backorders",
    response_model=BackorderPage,
    response_description="A page of backorders.",
    responses=documented("invalid-request", "uri-too-long"),
)
@needs("read")
async def list_backorders(
    request: Request,
    sku: SkuFilter = LEFT_OUT,
    sort: SortBackorders = "sku",
    limit: Limit = DEFAULT_ITEMS,
    cursor: Cursor = LEFT_OUT,
) -> Response:
    """Lists the order lines that wait for stock, of all products or of one.

    By default they are in the order in which each product serves them. A cursor is valid for the order it came from.
    """
    page = await queries_of(request).lists.backorders(sku=sku, sort=sort, limit=limit, cursor=cursor)
    return Answer(BACKORDER_PAGE.dump_json(page))
