"""The cart: what a buyer has chosen, before it is ordered. A cart reserves nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from app.domain.errors import (
    CartClosedError,
    CartEmptyError,
    CartLimitExceededError,
    CheckoutConflictError,
    CurrencyMismatchError,
    PriceChangedError,
)
from app.domain.limits import MAX_PRICE, MAX_QUANTITY

MAX_ITEMS = 100

CartStatus = Literal["open", "checked_out", "closed"]
"""`checked_out`: an order was held for the cart as it is. `closed`: a firm order was placed, so it cannot change."""


@dataclass(frozen=True, slots=True)
class CartItem:
    """Pieces of one SKU. `unit_price` is in whole minor units of the cart's currency."""

    sku: str
    qty: int
    unit_price: int

    @property
    def amount(self) -> int:
        """The price of all pieces."""
        return self.qty * self.unit_price


class Cart:
    """The aggregate root: items by SKU, in one currency. Each change increases `version` by one.

    `order_id` is the order that was held or placed at the last checkout. A refused change leaves the cart as it was.
    """

    def __init__(
        self,
        cart_id: str,
        currency: str,
        items: Iterable[CartItem] = (),
        *,
        version: int = 0,
        status: CartStatus = "open",
        order_id: str | None = None,
    ) -> None:
        self.cart_id = cart_id
        self.currency = currency
        self.version = version
        self.status: CartStatus = status
        self.order_id = order_id
        self._items = {item.sku: item for item in items}

    @property
    def items(self) -> list[CartItem]:
        """The items, by SKU."""
        return [self._items[sku] for sku in sorted(self._items)]

    @property
    def total(self) -> int:
        """The sum of the amounts of all items."""
        return sum(item.amount for item in self._items.values())

    def set_item(self, item: CartItem, currency: str | None = None) -> bool:
        """Set quantity and unit price of a SKU; returns whether it is new in the cart.

        Raises CartClosedError, CurrencyMismatchError where another currency than the cart's is given, and
        CartLimitExceededError.
        """
        self._check_open()
        self._check_currency(currency)
        known = self._items.get(item.sku)
        if item != known:
            self._check_limits(item)
            self._items[item.sku] = item
            self._note_change()
        return known is None

    def add_item(self, item: CartItem, currency: str | None = None) -> None:
        """Add pieces to those that the cart has of the SKU.

        Raises CartClosedError, CurrencyMismatchError, CartLimitExceededError, and PriceChangedError where the cart has
        the SKU with another unit price.
        """
        self._check_open()
        self._check_currency(currency)
        known = self._items.get(item.sku)
        if known is not None:
            if known.unit_price != item.unit_price:
                raise PriceChangedError(self.cart_id, item.sku, known.unit_price)
            item = CartItem(item.sku, known.qty + item.qty, item.unit_price)
        self.set_item(item)

    def remove_item(self, sku: str, qty: int | None = None) -> None:
        """Remove `qty` pieces of the SKU, or all; nothing where the cart does not have it. Raises CartClosedError."""
        self._check_open()
        known = self._items.get(sku)
        if known is None:
            return
        if qty is None or qty >= known.qty:
            del self._items[sku]
        else:
            self._items[sku] = CartItem(sku, known.qty - qty, known.unit_price)
        self._note_change()

    def order_of_checkout(self, order_id: str | None, new_order_id: str, *, is_firm: bool) -> str:
        """The id of the order that a checkout places: the one of the last checkout, the given one, or the new one.

        Raises CheckoutConflictError where `order_id` is not that of the last checkout, CartEmptyError, and
        CartClosedError unless this repeats the firm checkout that closed the cart.
        """
        is_another = self.order_id is not None and order_id not in {None, self.order_id}
        if self.status == "closed" and (is_another or not is_firm):
            raise CartClosedError(self.cart_id, self.order_id)
        if self.order_id is not None and is_another:
            raise CheckoutConflictError(self.cart_id, self.order_id)
        if not self._items:
            raise CartEmptyError(self.cart_id)
        return self.order_id or order_id or new_order_id

    def check_out(self, order_id: str, *, is_firm: bool) -> bool:
        """Note that the order was held, or with `is_firm` placed, for the items of now; returns whether that is new."""
        status: CartStatus = "closed" if is_firm else "checked_out"
        if (self.order_id, self.status) == (order_id, status):
            return False
        self.order_id, self.status = order_id, status
        self.version += 1
        return True

    def _note_change(self) -> None:
        """Count a change of the items. The cart has to be checked out again."""
        self.version += 1
        self.status = "open"

    def _check_open(self) -> None:
        if self.status == "closed":
            raise CartClosedError(self.cart_id, self.order_id)

    def _check_currency(self, currency: str | None) -> None:
        if currency not in {None, self.currency}:
            raise CurrencyMismatchError(self.cart_id, self.currency)

    def _check_limits(self, item: CartItem) -> None:
        """Raise CartLimitExceededError where the cart would exceed a limit with the item."""
        if item.qty > MAX_QUANTITY:
            message = f"An item may have at most {MAX_QUANTITY} pieces"
            raise CartLimitExceededError(message)
        if item.sku not in self._items and len(self._items) >= MAX_ITEMS:
            message = f"A cart may have at most {MAX_ITEMS} items"
            raise CartLimitExceededError(message)
        others = sum(each.amount for each in self._items.values() if each.sku != item.sku)
        if others + item.amount > MAX_PRICE:
            message = f"The total of a cart may be at most {MAX_PRICE}"
            raise CartLimitExceededError(message)
