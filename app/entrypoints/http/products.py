"""Products as a whole: what there is of them, what happened to them, what can be promised."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.domain.commands import ReorderPoint, SetReorderPoint
from app.domain.fields import LEFT_OUT, Sku
from app.entrypoints.http.answers import AVAILABILITY, HISTORY_PAGE, PRODUCT, PRODUCT_PAGE, STOCK, Answer
from app.entrypoints.http.conditional import CACHED, GUARDED, NOT_MODIFIED, TAGGED, if_match, show
from app.entrypoints.http.idempotent_write import documented_write, write
from app.entrypoints.http.identity import needs
from app.entrypoints.http.problems import documented
from app.entrypoints.http.query import DEFAULT_ITEMS, Backordered, ByDay, Cursor, Limit, LowStock, Pieces
from app.entrypoints.http.route import ServiceRoute
from app.read_model.availability import Availability
from app.read_model.history import HistoryPage
from app.read_model.lists import ProductPage
from app.read_model.queries import ProductState
from app.service_layer.results import StockState

router = APIRouter(prefix="/v1/products", tags=["products"], route_class=ServiceRoute)

SkuInPath = Annotated[Sku, Path(description="The product.")]


@router.get(
    "/{sku}",
    operation_id="getProduct",
    summary="Show a product and its batches",
    response_model=ProductState,
    response_description="The sums, and the batches in the order in which they are allocated from.",
    responses={
        200: TAGGED,
        304: NOT_MODIFIED,
        **documented("product-not-found", "precondition-failed", "invalid-request"),
    },
    openapi_extra=CACHED,
)
@needs("read")
async def get_product(sku: SkuInPath, request: Request) -> Response:
    """Shows what is available of a product, what is allocated, and what is waited for."""
    product = await request.app.state.queries.product(sku)
    return show(request, PRODUCT.dump_json(product), product.tag)


@router.put(
    "/{sku}/reorder-point",
    operation_id="setReorderPoint",
    summary="Have the buyers told when stock is low",
    response_model=StockState,
    response_description="The reorder point, and how much there is now.",
    responses={
        200: TAGGED,
        **documented_write(
            "malformed-body", "product-not-found", "precondition-failed", "payload-too-large", "unsupported-media-type"
        ),
    },
    openapi_extra=GUARDED,
)
@needs("stock:write")
async def set_reorder_point(sku: SkuInPath, wanted: ReorderPoint, request: Request) -> Response:
    """Sets below how many available pieces the buyers get a mail and others the event `low_stock.v1`.

    They are told once each time that it has come to be so: at once where less is available already, and again only
    after there was enough in between. `qty: 0` has them told no more. The same again changes nothing. `ETag` and
    `If-Match` are those of the product as a whole.
    """
    command = SetReorderPoint(sku=sku, qty=wanted.qty, if_match=if_match(request))
    return await write(request, command, lambda level: Answer(STOCK.dump_json(level), headers={"ETag": level.tag}))


@router.get(
    "",
    operation_id="listProducts",
    summary="List products",
    response_model=ProductPage,
    response_description="Some products, by SKU.",
    responses=documented("invalid-request", "uri-too-long"),
)
@needs("read")
async def list_products(
    request: Request,
    *,
    low_stock: LowStock = False,
    backordered: Backordered = False,
    limit: Limit = DEFAULT_ITEMS,
    cursor: Cursor = LEFT_OUT,
) -> Response:
    """Lists all products, or those that somebody should look after.

    A product is low on stock where less of it is available than its reorder point, over all its batches.
    """
    page = await request.app.state.queries.lists.products(
        low_stock=low_stock, backordered=backordered, limit=limit, cursor=cursor
    )
    return Answer(PRODUCT_PAGE.dump_json(page))


@router.get(
    "/{sku}/history",
    operation_id="getProductHistory",
    summary="Show what happened to a product",
    response_model=HistoryPage,
    response_description="Some of what happened, newest first.",
    responses=documented("product-not-found", "invalid-request", "uri-too-long"),
)
@needs("read")
async def get_history(
    sku: SkuInPath, request: Request, limit: Limit = DEFAULT_ITEMS, cursor: Cursor = LEFT_OUT
) -> Response:
    """Shows everything that ever changed the product: when, what, why and at whose request."""
    return Answer(HISTORY_PAGE.dump_json(await request.app.state.queries.history.page(sku, limit=limit, cursor=cursor)))


@router.get(
    "/{sku}/availability",
    operation_id="getAvailability",
    summary="Ask when a quantity can be had",
    response_model=Availability,
    response_description="Whether so many can be had by the day, from which batch, and when at the earliest.",
    responses=documented("product-not-found", "invalid-request"),
)
@needs("read")
async def get_availability(sku: SkuInPath, request: Request, qty: Pieces, by: ByDay = LEFT_OUT) -> Response:
    """Answers by the rule that allocates: one batch has to hold the whole quantity, for a line is never split.

    It is a look and no reservation: whoever places an order first gets the stock.
    """
    return Answer(AVAILABILITY.dump_json(await request.app.state.queries.promises.availability(sku, qty, by)))
