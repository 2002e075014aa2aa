"""The use cases of single order lines."""

from app.domain import events
from app.domain.commands import Allocate, AllocateMany, CancelAllocation, ChangeLineQuantity, ShipLine
from app.domain.errors import AllocationNotFoundError, DomainError, InvalidSkuError
from app.domain.stock import OrderLine
from app.service_layer.backorders import serve_queue
from app.service_layer.many import run_each
from app.service_layer.ports import UnitOfWork
from app.service_layer.results import AllocationState, LineAccepted


async def allocate(command: Allocate, uow: UnitOfWork) -> LineAccepted:
    """Allocate a line, queue it, or with `hold_for` hold it; a held line is confirmed.

    Raises InvalidSkuError, AllocationConflictError, OutOfStockError.
    """
    product = uow.products.get(command.sku)
    if product is None:
        uow.raise_event(
            events.AllocationFailed(
                sku=command.sku,
                sequence=None,
                order_id=command.order_id,
                line=command.line,
                qty=command.qty,
                reason="invalid_sku",
            )
        )
        raise InvalidSkuError(command.sku)
    line = OrderLine(
        order_id=command.order_id,
        sku=command.sku,
        qty=command.qty,
        requirements=command.requirements,
        name=command.line,
    )
    held_until = None if command.hold_seconds is None else product.end_of_hold(command.hold_seconds)
    allocation, changed = product.allocate(line, command.if_unavailable, held_until)
    return LineAccepted(AllocationState.of(allocation), changed)


async def allocate_many(command: AllocateMany, uow: UnitOfWork) -> list[LineAccepted | DomainError]:
    """Allocate lines one after another. See `run_each`."""
    return await run_each(command.items, allocate, uow)


async def cancel_allocation(command: CancelAllocation, uow: UnitOfWork) -> None:
    """Remove a line and serve the queue with its stock. Raises AllocationNotFoundError, AlreadyShippedError."""
    product = uow.products.get(command.sku)
    if product is None:
        raise AllocationNotFoundError(command.key, command.sku)
    product.cancel(command.key)
    await serve_queue(product, uow)


async def change_line_quantity(command: ChangeLineQuantity, uow: UnitOfWork) -> AllocationState:
    """Change a line, and serve the queue. Raises AllocationNotFoundError, AlreadyShippedError, OutOfStockError."""
    product = uow.products.get(command.sku)
    if product is None:
        raise AllocationNotFoundError(command.key, command.sku)
    allocation = product.change_line_quantity(command.key, command.qty)
    await serve_queue(product, uow)
    return AllocationState.of(allocation)


async def ship_line(command: ShipLine, uow: UnitOfWork) -> AllocationState:
    """Mark a line as shipped. Raises AllocationNotFoundError, NotAllocatedError, NotConfirmedError."""
    product = uow.products.get(command.sku)
    if product is None:
        raise AllocationNotFoundError(command.key, command.sku)
    return AllocationState.of(product.ship(command.key))
