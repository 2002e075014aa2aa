"""The use cases of orders of several lines: each line is allocated by the product of its SKU, in one transaction."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NoReturn

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
            return OrderAccepted(_state(order.order_id, uow), changed=False)
    products = _products_of(order, uow, is_hold=is_hold)
    if is_hold or command.if_unavailable == "reject":
        short = _without_stock(order, products)
        if short:
            _refuse_for_stock(order, short, products, uow, is_hold=is_hold)
    held_until = None if command.hold_seconds is None else _end_of_hold(products.values(), command.hold_seconds)
    lines = [products[line.sku].allocate(line, "backorder", held_until)[0] for line in order.lines]
    uow.orders.place(PlacedOrder.of(order.order_id, lines, is_held=is_hold))
    if not is_hold:
        uow.raise_event(events.OrderPlaced(order_id=order.order_id, lines=order.lines))
    return OrderAccepted(_state(order.order_id, uow), changed=True)


async def hold_order(command: HoldOrder, uow: UnitOfWork, *, partly: bool = False) -> OrderState:
    """Hold the lines of the order from now on, or these lines in place of them: all of them, or nothing changes.

    `partly` leaves out lines that no batch can hold; they count as lines of the order that have lost their hold. Raises
    OrderNotFoundError, NotHeldError, InvalidSkuError, OutOfStockError.
    """
    present = _lines_of(command.order_id, uow)
    order = _order_to_hold(command, [allocation for _, allocation in present])
    products = _products_of(order, uow, is_hold=True)
    named = {_id(line) for line in order.lines}
    held = [(product, allocation) for product, allocation in present if allocation.is_held]
    short = _without_stock(order, products, [each for _, each in held if _id(each.line) not in named])
    if short and not partly:
        _refuse_for_stock(order, short, products, uow, is_hold=True)
    held_until = _end_of_hold(products.values(), command.hold_for)
    wanted = [line for line in order.lines if line not in short]
    left = [(product, each) for product, each in held if _id(each.line) not in {_id(line) for line in wanted}]
    for product, allocation in left:
        product.replace_hold(allocation.line.key)
    for line in wanted:
        products[line.sku].hold(line, held_until)
    await _serve_queues([*(product for product, _ in left), *products.values()], uow)
    if "lines" in command.model_fields_set:
        lines = [allocation for _, allocation in _lines_of(order.order_id, uow)]
        uow.orders.place(PlacedOrder.of(order.order_id, lines, short, is_held=True))
    return _state(order.order_id, uow)


def _order_to_hold(command: HoldOrder, present: Sequence[Allocation]) -> Order:
    """The lines that the order holds from now on. Raises OrderNotFoundError, NotHeldError."""
    held = {_id(each.line): each.line for each in present if each.is_held}
    firm = {_id(each.line) for each in present if not each.is_held}
    if firm and not held:
        raise NotHeldError(command.order_id)
    if "lines" not in command.model_fields_set:
        if not held:
            raise OrderNotFoundError(command.order_id)
        return Order.of(command.order_id, held.values())
    order = _order_of(command.order_id, command.lines)
    confirmed = [line.sku for line in order.lines if _id(line) in firm]
    if confirmed:
        raise NotHeldError(command.order_id, *confirmed)
    return order


async def cancel_order(command: CancelOrder, uow: UnitOfWork) -> None:
    """Remove each line that was not shipped, and serve the queues with their stock.

    Raises OrderNotFoundError. An order of which everything has been shipped stays as it is.
    """
    lines = _lines_of(command.order_id, uow)
    if not lines:
        raise OrderNotFoundError(command.order_id)
    cancelled = [(product, allocation) for product, allocation in lines if allocation.shipped_sequence is None]
    firm = tuple(allocation.line for _, allocation in cancelled if not allocation.is_held)
    for product, allocation in cancelled:
        product.cancel(allocation.line.key)
    await _serve_queues((product for product, _ in cancelled), uow)
    if len(cancelled) == len(lines):
        uow.orders.forget(command.order_id)
    if firm:
        uow.raise_event(events.OrderCancelled(order_id=command.order_id, lines=firm))


async def _serve_queues(products: Iterable[Product], uow: UnitOfWork) -> None:
    for product in {product.sku: product for product in products}.values():
        await serve_queue(product, uow)


def _order_of(order_id: str, lines: Iterable[OrderedLine]) -> Order:
    return Order.of(order_id, (OrderLine(order_id, line.sku, line.qty, line.requirements, line.line) for line in lines))


def _id(line: OrderLine) -> tuple[str, str]:
    """Identifies a line within its order."""
    return line.sku, line.name


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
    """The lines that the order has now, by SKU and name, each with its product."""
    found = ((uow.products.get(sku), key) for sku, key in uow.orders.lines(order_id))
    return [
        (product, product.allocations[key])
        for product, key in found
        if product is not None and key in product.allocations
    ]


def _placed(order_id: str, accepted: list[Allocation], uow: UnitOfWork) -> PlacedOrder:
    """What was placed as the order, with the quantities of now; where nothing of it is left, the lines of now."""
    placed = uow.orders.placed(order_id)
    if placed is None or not placed.holds(accepted):
        placed = PlacedOrder.of(order_id, accepted)
    return placed.as_now(accepted)


def _has_other_quantities(order: Order, accepted: Iterable[Allocation]) -> bool:
    """Whether a line was placed again with another quantity after its hold had ended."""
    now = {_id(allocation.line): allocation.line.qty for allocation in accepted}
    return any(now.get(_id(line), line.qty) != line.qty for line in order.lines)


def _has_other_requirements(order: Order, accepted: Iterable[Allocation]) -> bool:
    """Whether a line names requirements that it does not have."""
    now = {_id(allocation.line): allocation.line.requirements for allocation in accepted}
    named = (line for line in order.lines if line.requirements != ANY_BATCH)
    return any(now.get(_id(line), line.requirements) != line.requirements for line in named)


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


def _without_stock(
    order: Order, products: Mapping[str, Product], leaving: Iterable[Allocation] = ()
) -> list[OrderLine]:
    """The lines that no batch can hold if all are placed, once the lines that are `leaving` have left."""
    lines: defaultdict[str, list[OrderLine]] = defaultdict(list)
    released: defaultdict[str, list[Allocation]] = defaultdict(list)
    for line in order.lines:
        lines[line.sku].append(line)
    for allocation in leaving:
        released[allocation.line.sku].append(allocation)
    return [line for sku, of_sku in lines.items() for line in products[sku].without_stock(of_sku, released[sku])]


def _refuse_for_stock(
    order: Order, short: Iterable[OrderLine], products: Mapping[str, Product], uow: UnitOfWork, *, is_hold: bool
) -> NoReturn:
    """Raise OutOfStockError for the lines that find no batch, and the events of the refusal."""
    short = list(short)
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
        events.AllocationFailed(
            sku=line.sku, sequence=None, order_id=line.order_id, line=line.name, qty=line.qty, reason=reason
        )
    )


def _end_of_hold(products: Iterable[Product], seconds: int) -> datetime:
    """The common end of the hold of all lines of an order."""
    return max(product.end_of_hold(seconds) for product in products)


def _state(order_id: str, uow: UnitOfWork) -> OrderState:
    return OrderState.of(order_id, [AllocationState.of(allocation) for _, allocation in _lines_of(order_id, uow)])
