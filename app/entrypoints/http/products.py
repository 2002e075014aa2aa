"""Products: stock, reorder point, history and availability."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.domain.choice import Requirements
from app.domain.commands import (
    CountProduct,
    CountProductIfMatch,
    OnHandCount,
    Redistribute,
    RedistributionOrDryRun,
    ReorderPoint,
    SetReorderPoint,
)
from app.domain.fields import LEFT_OUT, Sku
from app.domain.stock import line_key
from app.entrypoints.http.answers import (
    AVAILABILITY,
    COUNTED_PRODUCT,
    HISTORY_PAGE,
    PRODUCT,
    PRODUCT_PAGE,
    REDISTRIBUTED,
    STOCK,
    Answer,
    CountedProduct,
)
from app.entrypoints.http.conditional import CACHED, GUARDED, NOT_MODIFIED, TAGGED, if_match, show
from app.entrypoints.http.idempotent_write import KEYED, documented_write, write
from app.entrypoints.http.identity import needs
from app.entrypoints.http.problems import documented
from app.entrypoints.http.query import (
    DEFAULT_ITEMS,
    Backordered,
    ByDay,
    Cursor,
    FromLocations,
    GoodUntil,
    HeldForLine,
    HeldForOrder,
    Limit,
    LowStock,
    Pieces,
    SoldOut,
)
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.services import queries_of
from app.read_model.availability import Availability, Question
from app.read_model.history import HistoryPage
from app.read_model.lists import ProductPage
from app.read_model.queries import ProductState
from app.service_layer.results import ProductCounted, StockRedistributed, StockState

router = APIRouter(prefix="/v1/products", tags=["products"], route_class=ServiceRoute)

SkuInPath = Annotated[Sku, Path(description="The SKU of the product.")]


@router.get(
    "/{sku}",
    operation_id="getProduct",
    summary="Get a product and its batches",
    response_model=ProductState,
    response_description="The quantities, and the batches in order of preference.",
    responses={
        200: TAGGED,
        304: NOT_MODIFIED,
        **documented("product-not-found", "precondition-failed", "invalid-request"),
    },
    openapi_extra=CACHED,
)
@needs("read")
async def get_product(sku: SkuInPath, request: Request) -> Response:
    """Returns the available, allocated, shipped and backordered quantity of the product, and its batches."""
    product = await queries_of(request).product(sku)
    return show(request, PRODUCT.dump_json(product), product.tag)


@router.put(
    "/{sku}/reorder-point",
    operation_id="setReorderPoint",
    summary="Set the reorder point of a product",
    response_model=StockState,
    response_description="The reorder point and the current quantities.",
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
    """Sets the available quantity below which `low_stock.v1` is published and the buyers get a mail.

    The event is published once each time the available quantity falls below the reorder point, and immediately if it is
    already below. `qty: 0` switches it off. Repeating the request changes nothing. `ETag` and `If-Match` are those of
    the product.
    """
    command = SetReorderPoint(sku=sku, qty=wanted.qty, if_match=if_match(request))
    return await write(request, command, lambda level: Answer(STOCK.dump_json(level), headers={"ETag": level.tag}))


@router.put(
    "/{sku}/on-hand",
    operation_id="setOnHandQuantity",
    summary="Count a product in the warehouse",
    response_model=CountedProduct,
    response_description="The current quantities, and the lines that were moved off their batches.",
    responses={
        200: TAGGED,
        **documented_write(
            "malformed-body",
            "product-not-found",
            "precondition-failed",
            "quantity-changed",
            "location-required",
            "payload-too-large",
            "unsupported-media-type",
        ),
    },
    openapi_extra=GUARDED,
)
@needs("stock:write")
async def set_on_hand_qty(sku: SkuInPath, count: OnHandCount, request: Request) -> Response:
    """Sets the sum of the pieces on hand, allocated ones included, over the batches in the warehouse or the `location`.

    For callers that count products and not batches. Pieces found in addition are added to the batch in the
    warehouse that was recorded last, or to a new batch, whose ref the service generates. Pieces that were not found are
    removed from the batches recorded last: available pieces first, then allocated ones, whose lines move to other
    batches or to the queue. The first count of a SKU creates the product; a first count of 0 is 404. Repeating the
    request changes nothing, unless lines were shipped or other stock has arrived since: `expected_on_hand_qty`,
    `If-Match` and `Idempotency-Key` protect a late repetition. A count that moves more than 600 lines may take up to
    60 seconds.
    """
    command = CountProduct.model_construct(sku=sku, **dict(count))
    tags = if_match(request)
    if tags is not None:
        command = CountProductIfMatch.model_construct(**dict(command), if_match=tags)
    return await write(request, command, _counted)


def _counted(done: ProductCounted) -> Response:
    return Answer(COUNTED_PRODUCT.dump_json(CountedProduct.after(done)), headers={"ETag": done.stock.tag})


@router.post(
    "/{sku}/redistribute",
    operation_id="redistribute",
    summary="Give stock to waiting lines with a higher priority",
    response_model=StockRedistributed,
    response_description="The lines that got stock, and the lines that gave it.",
    responses=documented_write("malformed-body", "product-not-found", "payload-too-large", "unsupported-media-type"),
    openapi_extra=KEYED,
)
@needs("stock:write")
async def redistribute(sku: SkuInPath, wanted: RedistributionOrDryRun, request: Request) -> Response:
    """Serves waiting lines of the priority `below` or a higher one with stock of lines that have a lower priority.

    Arrivals never take stock that is allocated; this does. Lines that are not shipped leave their batch, the one that
    was allocated last first, as far as a waiting line needs their pieces. They move to other batches that can hold
    them, or to the queue, at the place of their request. Repeating the request finds nothing to do. It looks at the
    first 5,000 waiting lines, and at 5,000 lines with a lower priority.
    """
    command = Redistribute(sku=sku, below=wanted.below)
    if wanted.dry_run:
        return Answer(REDISTRIBUTED.dump_json(await queries_of(request).dry_runs.redistribute(command)))
    return await write(request, command, lambda done: Answer(REDISTRIBUTED.dump_json(done)))


@router.get(
    "",
    operation_id="listProducts",
    summary="List products",
    response_model=ProductPage,
    response_description="A page of products, by SKU.",
    responses=documented("invalid-request", "uri-too-long"),
)
@needs("read")
async def list_products(
    request: Request,
    *,
    low_stock: LowStock = False,
    backordered: Backordered = False,
    sold_out: SoldOut = False,
    limit: Limit = DEFAULT_ITEMS,
    cursor: Cursor = LEFT_OUT,
) -> Response:
    """Lists all products, or those that are low on stock, backordered or sold out.

    A product is low on stock if its available quantity, over all batches, is below its reorder point.
    """
    page = await queries_of(request).lists.products(
        low_stock=low_stock, backordered=backordered, sold_out=sold_out, limit=limit, cursor=cursor
    )
    return Answer(PRODUCT_PAGE.dump_json(page))


@router.get(
    "/{sku}/history",
    operation_id="getProductHistory",
    summary="Get the history of a product",
    response_model=HistoryPage,
    response_description="A page of events, newest first.",
    responses=documented("product-not-found", "invalid-request", "uri-too-long"),
)
@needs("read")
async def get_history(
    sku: SkuInPath, request: Request, limit: Limit = DEFAULT_ITEMS, cursor: Cursor = LEFT_OUT
) -> Response:
    """Returns all events of the product, with their time, content and cause."""
    return Answer(HISTORY_PAGE.dump_json(await queries_of(request).history.page(sku, limit=limit, cursor=cursor)))


@router.get(
    "/{sku}/availability",
    operation_id="getAvailability",
    summary="Check the availability of a quantity",
    response_model=Availability,
    response_description="Whether a batch can hold the quantity by the day, which one, and the earliest day.",
    responses=documented("product-not-found", "invalid-request"),
)
@needs("read")
async def get_availability(
    sku: SkuInPath,
    request: Request,
    qty: Pieces,
    by: ByDay = LEFT_OUT,
    order_id: HeldForOrder = LEFT_OUT,
    line: HeldForLine = "",
    from_locations: FromLocations = LEFT_OUT,
    good_until: GoodUntil = LEFT_OUT,
) -> Response:
    """Uses the rule that allocates: one batch has to hold the whole quantity, because a line is never split.

    Held pieces are not available, except to the order that is named. Nothing is reserved: another order can allocate
    the stock first.
    """
    requirements = Requirements.of(from_locations.split(",") if from_locations else (), good_until)
    key = line_key(order_id, line) if order_id else None
    question = Question(sku, qty, by, key, requirements)
    return Answer(AVAILABILITY.dump_json(await queries_of(request).availability(question)))
