"""The use cases of products as a whole."""

from app.domain.commands import ServeBackorders, SetReorderPoint
from app.domain.errors import ProductNotFoundError
from app.service_layer.backorders import serve_queue
from app.service_layer.entity_tags import check_tag
from app.service_layer.ports import UnitOfWork
from app.service_layer.results import StockState


async def set_reorder_point(command: SetReorderPoint, uow: UnitOfWork) -> StockState:
    """Set the reorder point of a product. Raises ProductNotFoundError, PreconditionFailedError."""
    product = uow.products.get(command.sku)
    if product is None:
        raise ProductNotFoundError(command.sku)
    check_tag(command.if_match, StockState.of(product))
    product.set_reorder_point(command.qty)
    return StockState.of(product)


async def serve_backorders(command: ServeBackorders, uow: UnitOfWork) -> None:
    """Let the stock of a product serve its queue; nothing where there is no such product."""
    product = uow.products.get(command.sku)
    if product is not None:
        await serve_queue(product, uow)
