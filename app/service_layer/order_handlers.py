"""The use cases of orders of several lines: each line is allocated by the product of its SKU, in one transaction."""

from app.domain import events
from app.domain.commands import CancelOrder, PlaceOrder
from app.domain.errors import InvalidSkuError, OrderConflictError, OrderNotFoundError, OutOfStockError
from app.domain.orders import Order, PlacedOrder
from app.domain.product import Product
from app.domain.stock import Allocation, OrderLine
from app.service_layer.backorders import serve_queue
from app.service_layer.ports import UnitOfWork
from app.service_layer.results import AllocationState, OrderAccepted, OrderState


async def place_order(command: PlaceOrder, uow: UnitOfWork) -> OrderAccepted:
    """Allocate or queue each line; with "reject" all of them are allocated, or nothing is kept.

    Raises OrderConflictError, InvalidSkuError, OutOfStockError; each also raises an event.
    """
    order = Order.of(command.order_id, ((line.sku, line.qty) for line in command.lines))
    accepted = [allocation for _, allocation in _lines_of(order.order_id, uow)]
    if accepted:
        _check_same(order, _placed(order.order_id, accepted, uow), uow)
        return OrderAccepted(_state(order.order_id, accepted), created=False)
    products = _products_of(order, uow)
    if command.if_unavailable == "reject":
        _check_stock(order, products, uow)
    placed = [products[line.sku].allocate(line, "backorder")[0] for line in order.lines]
    uow.orders.place(PlacedOrder.of(order.order_id, placed))
    uow.raise_event(events.OrderPlaced(order_id=order.order_id, lines=order.lines))
    return OrderAccepted(_state(order.order_id, placed), created=True)


async def cancel_order(command: CancelOrder, uow: UnitOfWork) -> None:
    """Remove each line that was not shipped, and serve the queues with their stock.

    Raises OrderNotFoundError. An order of which everything has been shipped stays as it is.
    """
    lines = _lines_of(command.order_id, uow)
    if not lines:
        raise OrderNotFoundError(command.order_id)
    cancelled = [(product, allocation) for product, allocation in lines if allocation.shipped_sequence is None]
    for product, _ in cancelled:
        product.cancel(command.order_id)
        await serve_queue(product, uow)
    if len(cancelled) == len(lines):
        uow.orders.forget(command.order_id)
    if cancelled:
        gone = tuple(allocation.line for _, allocation in cancelled)
        uow.raise_event(events.OrderCancelled(order_id=command.order_id, lines=gone))


def _lines_of(order_id: str, uow: UnitOfWork) -> list[tuple[Product, Allocation]]:
    """The lines that the order has now, by SKU, each with its product."""
    products = (uow.products.get(sku) for sku in uow.orders.skus(order_id))
    return [
        (product, product.allocations[order_id])
        for product in products
        if product is not None and order_id in product.allocations
    ]


def _placed(order_id: str, accepted: list[Allocation], uow: UnitOfWork) -> PlacedOrder:
    """What was placed as the order, with the quantities of now; where nothing of it is left, the lines of now."""
    placed = uow.orders.placed(order_id)
    if placed is not None and placed.holds(accepted):
        return placed.as_now(accepted)
    return PlacedOrder.of(order_id, accepted)


def _check_same(order: Order, placed: PlacedOrder, uow: UnitOfWork) -> None:
    """Raise OrderConflictError, unless this is what was placed: as an order, or line by line."""
    if not placed.is_made_of(order.lines):
        _refuse(order, order.lines, "conflict", uow)
        raise OrderConflictError(order.order_id)
    # The lines are an order from now on, even if they were placed one by one.
    uow.orders.place(placed)


def _products_of(order: Order, uow: UnitOfWork) -> dict[str, Product]:
    """The product of each line. Raises InvalidSkuError where there is none."""
    products: dict[str, Product] = {}
    unknown: list[OrderLine] = []
    for line in order.lines:
        product = uow.products.get(line.sku)
        if product is None:
            unknown.append(line)
        else:
            products[line.sku] = product
    if unknown:
        for line in unknown:
            uow.raise_event(
                events.AllocationFailed(
                    sku=line.sku, sequence=None, order_id=line.order_id, qty=line.qty, reason="invalid_sku"
                )
            )
        _refuse(order, tuple(unknown), "invalid_sku", uow)
        raise InvalidSkuError(*(line.sku for line in unknown))
    return products


def _check_stock(order: Order, products: dict[str, Product], uow: UnitOfWork) -> None:
    """Raise OutOfStockError where a line finds no batch. Each is of another SKU, so none takes another's stock."""
    short = tuple(line for line in order.lines if line.qty > products[line.sku].batches.largest_available_qty)
    if short:
        for line in short:
            products[line.sku].refuse(line)
        _refuse(order, short, "out_of_stock", uow)
        raise OutOfStockError(*(line.sku for line in short))


def _refuse(order: Order, lines: tuple[OrderLine, ...], reason: events.RefusalReason, uow: UnitOfWork) -> None:
    uow.raise_event(events.OrderRefused(order_id=order.order_id, lines=lines, reason=reason))


def _state(order_id: str, allocations: list[Allocation]) -> OrderState:
    return OrderState.of(order_id, [AllocationState.of(allocation) for allocation in allocations])
