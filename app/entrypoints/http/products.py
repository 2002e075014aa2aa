"""Products as a whole."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.domain.commands import ReorderPoint, SetReorderPoint, Sku
from app.entrypoints.http.answers import PRODUCT, STOCK, Answer
from app.entrypoints.http.problems import documented
from app.entrypoints.http.route import ServiceRoute
from app.entrypoints.http.writing import KEYED, documented_write, write
from app.read_model.queries import ProductState
from app.service_layer.results import StockState

router = APIRouter(prefix="/v1/products", tags=["products"], route_class=ServiceRoute)

ProductSku = Annotated[Sku, Path(description="The product.")]


@router.get(
    "/{sku}",
    operation_id="getProduct",
    summary="Show a product and its batches",
    response_model=ProductState,
    response_description="The sums, and the batches in the order in which they are allocated from.",
    responses=documented("product-not-found", "invalid-request"),
)
async def get_product(sku: ProductSku, request: Request) -> Response:
    """Shows what is available of a product, what is allocated, and what is waited for."""
    return Answer(PRODUCT.dump_json(await request.app.state.queries.product(sku)))


@router.put(
    "/{sku}/reorder-point",
    operation_id="setReorderPoint",
    summary="Have the buyers told when stock is low",
    response_model=StockState,
    response_description="The reorder point, and how much there is now.",
    responses=documented_write("malformed-body", "product-not-found", "payload-too-large", "unsupported-media-type"),
    openapi_extra=KEYED,
)
async def set_reorder_point(sku: ProductSku, wanted: ReorderPoint, request: Request) -> Response:
    """Sets below how many available pieces the buyers get a mail and others the event `low_stock.v1`.

    They are told once each time that it has come to be so: at once where less is available already, and again only
    after there was enough in between. `qty: 0` has them told no more. The same again changes nothing.
    """
    command = SetReorderPoint(sku=sku, qty=wanted.qty)
    return await write(request, command, lambda level: Answer(STOCK.dump_json(level)))
