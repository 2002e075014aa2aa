"""The use cases of products as a whole."""

import uuid

from app.domain.commands import (
    CountProduct,
    CountProductIfMatch,
    ExpireHolds,
    Redistribute,
    ServeBackorders,
    SetReorderPoint,
)
from app.domain.counts import Adjustment, check_on_hand, location_of_count, on_hand_qty_of
from app.domain.errors import PreconditionFailedError, ProductNotFoundError
from app.domain.product import Product
from app.domain.redistribution import redistribute
from app.service_layer.backorders import serve_queue
from app.service_layer.entity_tags import check_tag
from app.service_layer.ports import UnitOfWork
from app.service_layer.relocating import fetch_lines_to_release, line_moves, relocate
from app.service_layer.results import AllocationState, ProductCounted, StockRedistributed, StockState

MOST_REDISTRIBUTED = 5000
"""How many waiting lines, and how many lines on batches, one redistribution looks at."""


async def set_reorder_point(command: SetReorderPoint, uow: UnitOfWork) -> StockState:
    """Set the reorder point of a product. Raises ProductNotFoundError, PreconditionFailedError."""
    product = uow.products.get(command.sku)
    if product is None:
        raise ProductNotFoundError(command.sku)
    check_tag(command.if_match, StockState.of(product))
    product.set_reorder_point(command.qty)
    return StockState.of(product)


async def count_product(command: CountProduct, uow: UnitOfWork) -> ProductCounted:
    """Set the pieces on hand of a product; the first count of a SKU creates the product.

    Raises ProductNotFoundError where nothing was counted of a SKU without a batch, LocationRequiredError, and
    OnHandChangedError.
    """
    product = uow.products.get_or_create(command.sku)
    if not product.sequence and not command.on_hand_qty:
        raise ProductNotFoundError(command.sku)
    await uow.products.fetch_on_hand(product)
    location = location_of_count(product, command.location)
    await uow.products.fetch_last_in(product, location)
    check_on_hand(product, location, command.on_hand_qty, command.expected_on_hand_qty)
    adjustment = Adjustment.of_count(product, location, command.on_hand_qty)
    for batch, qty in adjustment.quantities:
        await fetch_lines_to_release(product, batch, qty, uow)
    relocation = adjustment.apply(product, new_ref(product), command.reason, command.reference)
    moves = await relocate(relocation, product, uow)
    await serve_queue(product, uow)
    return ProductCounted(StockState.of(product), on_hand_qty_of(product, location), await line_moves(moves))


async def count_product_if_match(command: CountProductIfMatch, uow: UnitOfWork) -> ProductCounted:
    """Count a product as the caller has seen it. Raises PreconditionFailedError, OnHandChangedError."""
    product = uow.products.get(command.sku)
    if product is None:
        raise PreconditionFailedError
    check_tag(command.if_match, StockState.of(product))
    return await count_product(command, uow)


def new_ref(product: Product) -> str:
    """A ref for a batch that a count records. It is random, because a ref that can be predicted could be taken."""
    return f"count-{product.sequence + 1}-{uuid.uuid4().hex}"


async def redistribute_stock(command: Redistribute, uow: UnitOfWork, *, is_dry_run: bool = False) -> StockRedistributed:
    """Give stock of lines below a priority to waiting lines. Again, it finds nothing to do.

    A dry run does not serve the rest of the queue. Raises ProductNotFoundError.
    """
    product = uow.products.get(command.sku)
    if product is None:
        raise ProductNotFoundError(command.sku)
    await uow.products.fetch_for_redistribution(product, below=command.below, limit=MOST_REDISTRIBUTED)
    found = redistribute(product, command.below)
    if not is_dry_run:
        await serve_queue(product, uow)
    served = [AllocationState.of(allocation) for allocation in found.served]
    return StockRedistributed(product.sku, served, await line_moves(found.moves))


async def serve_backorders(command: ServeBackorders, uow: UnitOfWork) -> None:
    """Let the stock of a product serve its queue; nothing where there is no such product."""
    product = uow.products.get(command.sku)
    if product is not None:
        await serve_queue(product, uow)


async def expire_holds(command: ExpireHolds, uow: UnitOfWork) -> bool:
    """Return whether overdue holds are left. The unit of work has ended some hundred when it locked the product."""
    product = uow.products.get(command.sku)
    return product is not None and product.has_overdue_holds
