"""The use cases of orders of several lines: each line is allocated by the product of its SKU, in one transaction."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from app.domain import events
from app.domain.choice import ANY_BATCH
from app.domain.commands import CancelOrder, HoldOrder, OrderedLine, PlaceOrder
from app.domain.errors import (
    InvalidSkuError,
    NotHeldError,
    OrderConflictError,
    OrderNotFoundError,
    OutOfStockError,
)
from app.domain.orders import Order, PlacedOrder
from app.domain.product import Product
from app.domain.stock import Allocation, OrderLine
from app.service_layer.backorders import serve_queue
from app.service_layer.ports import UnitOfWork
from app.service_layer.results import AllocationState, OrderAccepted, OrderState


async def place_order(command: PlaceOrder, uow: UnitOfWork) -> OrderAccepted:
    """Allocate or queue each line; with "reject" all of them are allocated, or nothing is kept.

    With `hold_for` all lines are held, or nothing is kept. Without it, an order that is held becomes firm; lines of it
    that have lost their hold are placed like new ones. Raises OrderConflictError, InvalidSkuError, OutOfStockError;
    each also raises events.
    """
    order, is_hold = _order_of(command.order_id, command.lines), command.hold_seconds is not None
    accepted = [allocation for _, allocation in _lines_of(order.order_id, uow)]
    if accepted:
        placed = _placed(order.order_id, accepted, uow)
        is_confirmation = placed.is_held and not is_hold
        is_same = placed.is_made_of(order.lines) and not _has_other_requirements(order, accepted)
        if not is_same or (is_confirmation and _has_other_quantities(order, accepted)):
            _refuse(order, "conflict", uow, is_hold=is_hold)
            raise OrderConflictError(order.order_id)
        if not is_confirmation:
            # The lines are an order from now on, even if they were placed one by one.
            uow.orders.place(placed)
            return OrderAccepted(_state(order.order_id, uow), created=False)
    products = _products_of(order, uow, is_hold=is_hold)
    if is_hold or command.if_unavailable == "reject":
        _check_stock(order, products, uow, is_hold=is_hold)
    held_until = None if command.hold_seconds is None else _end_of_hold(products.values(), command.hold_seconds)
    lines = [products[line.sku].allocate(line, "backorder", held_until)[0] for line in order.lines]
    uow.orders.place(PlacedOrder.of(order.order_id, lines, is_held=is_hold))
    if not is_hold:
        uow.raise_event(events.OrderPlaced(order_id=order.order_id, lines=order.lines))
    return OrderAccepted(_state(order.order_id, uow), created=True)


async def hold_order(command: HoldOrder, uow: UnitOfWork, *, partly: bool = False) -> OrderState:
    """Hold the lines of the order from now on, or these lines in place of them: all of them, or nothing changes.

    `partly` leaves out lines that no batch can hold; they count as lines of the order that have lost their hold. Raises
    OrderNotFoundError, NotHeldError, InvalidSkuError, OutOfStockError.
    """
    present = _lines_of(command.order_id, uow)
    held = {product.sku: allocation for product, allocation in present if allocation.is_held}
    if present and not held:
        raise NotHeldError(command.order_id)
    has_lines = "lines" in command.model_fields_set
    if not has_lines:
        if not held:
            raise OrderNotFoundError(command.order_id)
        order = Order(command.order_id, tuple(allocation.line for allocation in held.values()))
    else:
        order = _order_of(command.order_id, command.lines)
        accepted = {product.sku for product, _ in present}
        firm = [line.sku for line in order.lines if line.sku in accepted and line.sku not in held]
        if firm:
            raise NotHeldError(command.order_id, *firm)
    products = _products_of(order, uow, is_hold=True)
    if not partly:
        _check_stock(order, products, uow, is_hold=True)
    fitting = [line for line in order.lines if products[line.sku].can_hold(line)]
    held_until = _end_of_hold(products.values(), command.hold_for)
    wanted = {line.sku for line in fitting}
    for product, _ in present:
        if product.sku in held and product.sku not in wanted:
            product.replace_hold(order.order_id)
            await serve_queue(product, uow)
    for line in fitting:
        products[line.sku].hold(line, held_until)
        await serve_queue(products[line.sku], uow)
    if has_lines:
        lines = [allocation for _, allocation in _lines_of(order.order_id, uow)]
        left_out = [line for line in order.lines if line.sku not in wanted]
        uow.orders.place(PlacedOrder.of(order.order_id, lines, left_out, is_held=True))
    return _state(order.order_id, uow)


async def cancel_order(command: CancelOrder, uow: UnitOfWork) -> None:
    """Remove each line that was not shipped, and serve the queues with their stock.

    Raises OrderNotFoundError. An order of which everything has been shipped stays as it is.
    """
    lines = _lines_of(command.order_id, uow)
    if not lines:
        raise OrderNotFoundError(command.order_id)
    cancelled = [(product, allocation) for product, allocation in lines if allocation.shipped_sequence is None]
    firm = tuple(allocation.line for _, allocation in cancelled if not allocation.is_held)
    for product, _ in cancelled:
        product.cancel(command.order_id)
        await serve_queue(product, uow)
    if len(cancelled) == len(lines):
        uow.orders.forget(command.order_id)
    if firm:
        uow.raise_event(events.OrderCancelled(order_id=command.order_id, lines=firm))


def _order_of(order_id: str, lines: Iterable[OrderedLine]) -> Order:
    return Order.of(order_id, (OrderLine(order_id, line.sku, line.qty, line.requirements) for line in lines))


def firm_and_held_skus(order_id: str, uow: UnitOfWork) -> tuple[list[str], list[str]]:
    """The SKUs of the lines that the order has now: of the firm ones, and of those that are held."""
    lines = _lines_of(order_id, uow)
    firm = [product.sku for product, allocation in lines if not allocation.is_held]
    return firm, [product.sku for product, allocation in lines if allocation.is_held]


def order_state(order_id: str, uow: UnitOfWork) -> OrderState:
    """The order as it is now. Raises OrderNotFoundError where it has no line."""
    if not _lines_of(order_id, uow):
        raise OrderNotFoundError(order_id)
    return _state(order_id, uow)


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
    if placed is None or not placed.holds(accepted):
        placed = PlacedOrder.of(order_id, accepted)
    return placed.as_now(accepted)


def _has_other_quantities(order: Order, accepted: Iterable[Allocation]) -> bool:
    """Whether a line was placed again with another quantity after its hold had ended."""
    now = {allocation.line.sku: allocation.line.qty for allocation in accepted}
    return any(now.get(line.sku, line.qty) != line.qty for line in order.lines)


def _has_other_requirements(order: Order, accepted: Iterable[Allocation]) -> bool:
    """Whether a line names requirements that it does not have."""
    now = {allocation.line.sku: allocation.line.requirements for allocation in accepted}
    named = (line for line in order.lines if line.requirements != ANY_BATCH)
    return any(now.get(line.sku, line.requirements) != line.requirements for line in named)


def _products_of(order: Order, uow: UnitOfWork, *, is_hold: bool) -> dict[str, Product]:
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
            _fail(line, "invalid_sku", uow)
        _refuse_order(order, unknown, "invalid_sku", uow, is_hold=is_hold)
        raise InvalidSkuError(*(line.sku for line in unknown))
    return products


def _check_stock(order: Order, products: Mapping[str, Product], uow: UnitOfWork, *, is_hold: bool) -> None:
    """Raise OutOfStockError where a line finds no batch. Each is of another SKU, so none takes another's stock."""
    short = [line for line in order.lines if not products[line.sku].can_hold(line)]
    if short:
        for line in short:
            products[line.sku].refuse(line, "out_of_stock", is_held=is_hold)
        _refuse_order(order, short, "out_of_stock", uow, is_hold=is_hold)
        raise OutOfStockError(*(line.sku for line in short))


def _refuse(order: Order, reason: events.RefusalReason, uow: UnitOfWork, *, is_hold: bool) -> None:
    """Raise the events of an order that is refused for all of its lines."""
    if is_hold:
        for line in order.lines:
            _fail(line, reason, uow)
    _refuse_order(order, order.lines, reason, uow, is_hold=is_hold)


def _refuse_order(
    order: Order, lines: Iterable[OrderLine], reason: events.RefusalReason, uow: UnitOfWork, *, is_hold: bool
) -> None:
    """Raise the event of the order as a whole; none for a hold, which is not an order before it is confirmed."""
    if not is_hold:
        uow.raise_event(events.OrderRefused(order_id=order.order_id, lines=tuple(lines), reason=reason))


def _fail(line: OrderLine, reason: events.RefusalReason, uow: UnitOfWork) -> None:
    product = uow.products.get(line.sku)
    if product is not None:
        product.refuse(line, reason)
        return
    uow.raise_event(
        events.AllocationFailed(sku=line.sku, sequence=None, order_id=line.order_id, qty=line.qty, reason=reason)
    )


def _end_of_hold(products: Iterable[Product], seconds: int) -> datetime:
    """The common end of the hold of all lines of an order."""
    return max(product.end_of_hold(seconds) for product in products)


def _state(order_id: str, uow: UnitOfWork) -> OrderState:
    return OrderState.of(order_id, [AllocationState.of(allocation) for _, allocation in _lines_of(order_id, uow)])
