"""The use cases of carts. A checkout places the order with the handlers of orders, in the same transaction."""

from app.domain import events
from app.domain.carts import Cart, CartItem
from app.domain.commands import (
    AddCartItem,
    CheckOutCart,
    HoldOrder,
    OrderedLine,
    PlaceOrder,
    RemoveCartItem,
    SetCartItem,
)
from app.domain.errors import CartNotFoundError, NotHeldError, PreconditionFailedError
from app.domain.fields import LEFT_OUT, EntityTags
from app.service_layer.cart_results import CartOrdered, CartState, CheckedOutOrder, ItemSet
from app.service_layer.entity_tags import check_tag
from app.service_layer.order_handlers import (
    firm_and_held_skus,
    hold_order,
    order_state,
    place_order,
)
from app.service_layer.ports import UnitOfWork
from app.service_layer.results import OrderAccepted, OrderState

SHORTEST_HOLD = 1
"""Seconds of a hold that the same transaction confirms."""


async def set_cart_item(command: SetCartItem, uow: UnitOfWork) -> ItemSet:
    """Set quantity and unit price of a SKU in a cart, which is made if it does not exist.

    Raises PreconditionFailedError, CartClosedError, CurrencyMismatchError, CartLimitExceededError.
    """
    cart = _get_or_make(command, uow)
    created = cart.set_item(_item(command), command.currency)
    uow.carts.add(cart)
    return ItemSet(CartState.of(cart), created)


async def add_cart_item(command: AddCartItem, uow: UnitOfWork) -> CartState:
    """Add pieces of a SKU to a cart, which is made if it does not exist.

    Raises PreconditionFailedError, CartClosedError, CurrencyMismatchError, PriceChangedError, CartLimitExceededError.
    """
    cart = _get_or_make(command, uow)
    cart.add_item(_item(command), command.currency)
    uow.carts.add(cart)
    return CartState.of(cart)


async def remove_cart_item(command: RemoveCartItem, uow: UnitOfWork) -> CartState | None:
    """Remove pieces of a SKU; None where the cart does not exist. Raises PreconditionFailedError, CartClosedError."""
    cart = uow.carts.get(command.cart_id)
    _check_tag(command.if_match, cart)
    if cart is None:
        return None
    cart.remove_item(command.sku, command.qty)
    return CartState.of(cart)


async def check_out_cart(command: CheckOutCart, uow: UnitOfWork) -> CartOrdered:
    """Place or hold the order of the items that the cart has now.

    The same checkout again returns the order as it is. Raises CartNotFoundError, PreconditionFailedError,
    CartClosedError, CartEmptyError, CheckoutConflictError, OrderNotFoundError where a placed order was cancelled since,
    and what `place_order` and `hold_order` raise.
    """
    cart = uow.carts.get(command.cart_id)
    if cart is None:
        raise CartNotFoundError(command.cart_id)
    _check_tag(command.if_match, cart)
    order_id = cart.order_of_checkout(command.order_id, command.new_order_id, is_firm=command.hold_for is None)
    if cart.status == "closed":
        # Not placed again: that would bring back an order that was cancelled since.
        return _ordered(cart, order_state(order_id, uow), created=False)
    accepted = await _place(cart, order_id, command, uow)
    ends = [line.held_until for line in accepted.order.lines if line.held_until is not None]
    if not cart.check_out(order_id, is_firm=not ends) and not accepted.changed:
        return _ordered(cart, accepted.order, created=False)
    uow.raise_event(
        events.CartCheckedOut(
            order_id=order_id,
            cart_id=cart.cart_id,
            currency=cart.currency,
            total=cart.total,
            items=tuple(cart.items),
            held_until=min(ends, default=None),
        )
    )
    return _ordered(cart, accepted.order, created=True)


async def _place(cart: Cart, order_id: str, command: CheckOutCart, uow: UnitOfWork) -> OrderAccepted:
    """Place or hold the items of the cart as the order.

    If the cart has changed since its last checkout, its hold is replaced first, and confirmed after that for a firm
    order; lines that may wait for stock are backordered then. Raises NotHeldError where the order to hold is firm, or
    where lines of the hold to replace are firm, and what `place_order` and `hold_order` raise.
    """
    lines = [OrderedLine.model_construct(sku=item.sku, qty=item.qty) for item in cart.items]
    order = PlaceOrder.model_construct(
        order_id=order_id, lines=lines, if_unavailable=command.if_unavailable, hold_for=command.hold_for or LEFT_OUT
    )
    has_changed = cart.order_id is not None and cart.status == "open"
    firm, held = firm_and_held_skus(order_id, uow)
    if firm and not held and command.hold_for is not None:
        raise NotHeldError(order_id)
    if not has_changed:
        return await place_order(order, uow)
    if firm and held:
        raise NotHeldError(order_id, *firm)
    hold = HoldOrder.model_construct(order_id=order_id, lines=lines, hold_for=command.hold_for or SHORTEST_HOLD)
    if command.hold_for is not None:
        return OrderAccepted(await hold_order(hold, uow), changed=True)
    if held:
        # A line that may wait for stock must not cost the others theirs.
        await hold_order(hold, uow, partly=command.if_unavailable == "backorder")
    return await place_order(order, uow)


def _get_or_make(command: SetCartItem | AddCartItem, uow: UnitOfWork) -> Cart:
    cart = uow.carts.get(command.cart_id)
    _check_tag(command.if_match, cart)
    return cart or Cart(command.cart_id, command.currency or command.default_currency)


def _item(command: SetCartItem | AddCartItem) -> CartItem:
    return CartItem(command.sku, command.qty, command.unit_price)


def _check_tag(wanted: EntityTags | None, cart: Cart | None) -> None:
    """Raise PreconditionFailedError unless the cart has one of the wanted tags, or none is named."""
    if wanted is None:
        return
    if cart is None:
        raise PreconditionFailedError
    check_tag(wanted, CartState.of(cart))


def _ordered(cart: Cart, order: OrderState, *, created: bool) -> CartOrdered:
    return CartOrdered(CheckedOutOrder.for_cart(order, cart), created, CartState.of(cart).tag)
