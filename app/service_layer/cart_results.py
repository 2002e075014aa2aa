"""What commands and queries of carts return."""

from dataclasses import dataclass, fields
from typing import Annotated, Self

from pydantic import Field

from app.domain.carts import Cart, CartStatus
from app.integration.fields import CartId, CartQuantity, Currency, Sku, Total, UnitPrice
from app.service_layer.results import OrderState

CartOrderId = Annotated[
    str | None,
    Field(description="The order of the last checkout; null: the cart was not checked out.", examples=["order-1"]),
]
Version = Annotated[int, Field(ge=1, description="The number of changes so far; also the `ETag`.", examples=[3])]


@dataclass(frozen=True, slots=True)
class ItemState:
    """An item of a cart."""

    sku: Sku
    qty: CartQuantity
    unit_price: UnitPrice


@dataclass(frozen=True, slots=True)
class CartState:
    """The current state of a cart."""

    cart_id: CartId
    currency: Currency
    status: Annotated[
        CartStatus,
        Field(
            description=(
                "`open`: the cart was not checked out since it changed. `checked_out`: its order is held, or was held "
                "until the hold ended. `closed`: its order was placed, so the cart cannot change."
            ),
        ),
    ]
    order_id: CartOrderId
    items: Annotated[list[ItemState], Field(description="The items, by SKU.")]
    total: Total
    version: Version

    @property
    def tag(self) -> str:
        """The entity tag of the cart."""
        return cart_tag(self.version)

    @classmethod
    def of(cls, cart: Cart) -> Self:
        """The cart as it is now."""
        return cls(
            cart_id=cart.cart_id,
            currency=cart.currency,
            status=cart.status,
            order_id=cart.order_id,
            items=[ItemState(item.sku, item.qty, item.unit_price) for item in cart.items],
            total=cart.total,
            version=cart.version,
        )


def cart_tag(version: int) -> str:
    """The entity tag of a cart."""
    return f'"{version}"'


@dataclass(frozen=True, slots=True)
class ItemSet:
    """The outcome of SetCartItem; `created` is False where the cart had the SKU before."""

    cart: CartState
    created: bool


@dataclass(frozen=True, slots=True)
class CheckedOutOrder(OrderState):
    """The order of a cart, and the price of its items."""

    cart_id: CartId
    currency: Currency
    total: Total

    @classmethod
    def for_cart(cls, order: OrderState, cart: Cart) -> Self:
        """The order with the values of its cart."""
        values = {each.name: getattr(order, each.name) for each in fields(order)}
        return cls(**values, cart_id=cart.cart_id, currency=cart.currency, total=cart.total)


@dataclass(frozen=True, slots=True)
class CartOrdered:
    """The outcome of CheckOutCart; `created` is False where the same checkout was done before. `tag` is the cart's."""

    order: CheckedOutOrder
    created: bool
    tag: str
