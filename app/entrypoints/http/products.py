"""Products as a whole."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.domain.commands import Sku
from app.entrypoints.http.answers import PRODUCT, Answer
from app.entrypoints.http.identity import needs
from app.entrypoints.http.problems import documented
from app.entrypoints.http.route import ServiceRoute
from app.read_model.queries import ProductState

router = APIRouter(prefix="/v1/products", tags=["products"], route_class=ServiceRoute)


@router.get(
    "/{sku}",
    operation_id="getProduct",
    summary="Show a product and its batches",
    response_model=ProductState,
    response_description="The sums, and the batches in the order in which they are allocated from.",
    responses=documented("product-not-found", "invalid-request"),
)
@needs("read")
async def get_product(sku: Annotated[Sku, Path(description="The product.")], request: Request) -> Response:
    """Shows what is available of a product, what is allocated, and what is waited for."""
    return Answer(PRODUCT.dump_json(await request.app.state.queries.product(sku)))
