"""Commands about a cart."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.domain.commands.base import Command
from app.domain.commands.terms import PlacementTerms
from app.domain.fields import (
    LEFT_OUT,
    CartId,
    Currency,
    EntityTags,
    IfUnavailable,
    OrderId,
    Quantity,
    Sku,
    UnitPrice,
    drop_default,
)

SIZE_OF_A_CHECKOUT = 10
"""How many lines a checkout counts as in a group. The real number is not known before the cart is read."""

CartQuantity = Annotated[Quantity, Field(description="Pieces of the SKU.", examples=[2])]


class ItemValues(BaseModel):
    """Quantity and unit price of an item. A cart that does not exist yet is made, with `currency` or the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    qty: CartQuantity
    unit_price: UnitPrice
    currency: Currency = Field(default=LEFT_OUT, json_schema_extra=drop_default)


class NewItem(ItemValues):
    """Pieces to add to a cart."""

    sku: Sku


class _NamedCartCommand(Command):
    """A command about one cart. With `if_match` only if the cart has one of these entity tags."""

    cart_id: CartId
    if_match: EntityTags | None = None

    @property
    def routing_key(self) -> str:
        """The cart: its commands keep their order."""
        return self.cart_id


class _ItemCommand(_NamedCartCommand):
    sku: Sku
    qty: Quantity
    unit_price: UnitPrice
    currency: Currency | None = None
    default_currency: Currency
    """The currency of a cart that is made without one."""


class SetCartItem(_ItemCommand):
    """Set quantity and unit price of a SKU in a cart."""


class AddCartItem(_ItemCommand):
    """Add pieces of a SKU to a cart."""


class RemoveCartItem(_NamedCartCommand):
    """Remove `qty` pieces of a SKU from a cart, or all of them."""

    sku: Sku
    qty: Quantity | None = None


class Checkout(PlacementTerms):
    """How a cart is checked out. Without `order_id` the service generates the id of its order."""

    order_id: OrderId = Field(default=LEFT_OUT, json_schema_extra=drop_default)


class CheckOutCart(_NamedCartCommand):
    """Place or hold the order of a cart. `new_order_id` is the id that it gets if it has none and none is given."""

    order_id: OrderId | None = None
    new_order_id: OrderId
    if_unavailable: IfUnavailable = "backorder"
    hold_for: int | None = None

    @property
    def size(self) -> int:
        """An estimate."""
        return SIZE_OF_A_CHECKOUT
