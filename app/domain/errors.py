"""Refusals by business rules. Each is the answer to one command and changes nothing.

`code` is the stable name of a refusal; the entrypoints map it to their own protocol.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from app.domain.limits import MAX_QUANTITY
from app.domain.stock import split_line_key


def _named(key: str, sku: str) -> str:
    """The line in a sentence about it."""
    order_id, line = split_line_key(key)
    return f"The line {line} of sku {sku} of order {order_id}" if line else f"The line of sku {sku} of order {order_id}"


class DomainError(Exception):
    """A command was refused. The message is written for the caller."""

    code: ClassVar[str]
    details: Mapping[str, Any] = MappingProxyType({})
    """Values for programs, under the names of the public API."""


class InvalidSkuError(DomainError):
    """No batch of this SKU, or of these SKUs, was ever recorded, so nothing can be allocated from it."""

    code = "invalid-sku"

    def __init__(self, *skus: str) -> None:
        unique = list(dict.fromkeys(skus))
        super().__init__(f"Invalid sku {', '.join(unique)}")
        self.details = {"skus": unique}


class OutOfStockError(DomainError):
    """No batch can hold the whole line (of an order: these lines), and the line may not wait in the queue."""

    code = "out-of-stock"

    def __init__(self, *skus: str) -> None:
        unique = list(dict.fromkeys(skus))
        super().__init__(f"Out of stock for sku {', '.join(unique)}")
        self.details = {"skus": unique}


class OrderConflictError(DomainError):
    """The order was placed before with other lines."""

    code = "order-conflict"

    def __init__(self, order_id: str) -> None:
        super().__init__(f"Order {order_id} was placed before with other lines; use a new order id, or cancel it first")


class AllocationConflictError(DomainError):
    """The order has this SKU already, with another quantity or other requirements."""

    code = "allocation-conflict"

    def __init__(self, key: str, sku: str, accepted_qty: int) -> None:
        order_id, line = split_line_key(key)
        named = f" in line {line}" if line else ""
        super().__init__(
            f"Order {order_id} already has {accepted_qty} of sku {sku}{named}, or other requirements of its batch;"
            " change the quantity of that line instead, or cancel it and place it again"
        )


class AllocationNotFoundError(DomainError):
    """The order has no line of this SKU."""

    code = "allocation-not-found"

    def __init__(self, key: str, sku: str) -> None:
        order_id, line = split_line_key(key)
        super().__init__(f"Order {order_id} has no line{f' {line}' if line else ''} of sku {sku}")


class AlreadyShippedError(DomainError):
    """The line was shipped, so it cannot be cancelled or changed."""

    code = "already-shipped"

    def __init__(self, key: str, sku: str) -> None:
        super().__init__(f"{_named(key, sku)} has been shipped")


class NotAllocatedError(DomainError):
    """The line waits for stock, so there is nothing to ship."""

    code = "not-allocated"

    def __init__(self, key: str, sku: str) -> None:
        super().__init__(f"{_named(key, sku)} waits for stock and cannot be shipped")


class NotConfirmedError(DomainError):
    """The line is held, so it cannot be shipped before it is confirmed."""

    code = "not-confirmed"

    def __init__(self, key: str, sku: str) -> None:
        super().__init__(f"{_named(key, sku)} is held; place it without hold_for to confirm it")


class NotHeldError(DomainError):
    """The order, or a line that is named, is firm already, so there is no hold to change."""

    code = "not-held"

    def __init__(self, order_id: str, *skus: str) -> None:
        unique = list(dict.fromkeys(skus))
        what = f"The line of sku {', '.join(unique)} of order {order_id} is" if skus else f"Order {order_id} is"
        super().__init__(f"{what} not held: it was confirmed or placed without hold_for")
        self.details = {"skus": unique} if skus else {}


class BelowShippedError(DomainError):
    """More pieces of the batch were shipped than the new quantity."""

    code = "below-shipped"

    def __init__(self, ref: str, shipped_qty: int) -> None:
        super().__init__(f"{shipped_qty} pieces of batch {ref} have been shipped; its quantity cannot be less")


class QuantityChangedError(DomainError):
    """The batch does not have the quantity that the caller expected."""

    code = "quantity-changed"

    def __init__(self, ref: str, expected_qty: int, present_qty: int) -> None:
        super().__init__(f"Batch {ref} has the quantity {present_qty}, not {expected_qty}; look again")
        self.details = {"present_qty": present_qty}


class OnHandChangedError(DomainError):
    """The product does not have the quantity on hand that the caller expected."""

    code = QuantityChangedError.code

    def __init__(self, sku: str, expected_qty: int, present_qty: int) -> None:
        super().__init__(f"{present_qty} pieces of sku {sku} are on hand, not {expected_qty}; look again")
        self.details = {"present_qty": present_qty}


class LocationRequiredError(DomainError):
    """A product was counted without a location, and has pieces in several locations."""

    code = "location-required"

    def __init__(self, sku: str, locations: list[str]) -> None:
        super().__init__(f"Sku {sku} has pieces in {', '.join(locations)}; name the location that was counted")
        self.details = {"locations": locations}


class QuantityTooLargeError(DomainError):
    """The quantity of a batch, shipped pieces included, would be too large."""

    code = "quantity-too-large"

    def __init__(self, ref: str, qty: int) -> None:
        super().__init__(f"The quantity of batch {ref} would be {qty}, which is more than {MAX_QUANTITY}")


class PreconditionFailedError(DomainError):
    """The batch, product or cart is not, or no longer, the one whose entity tag the caller named."""

    code = "precondition-failed"

    def __init__(self) -> None:
        super().__init__("The ETag is not one of those in If-Match, so nothing was changed; read it again")


class OrderNotFoundError(DomainError):
    """The order has no line at all."""

    code = "order-not-found"

    def __init__(self, order_id: str) -> None:
        super().__init__(f"Order {order_id} has no line")


class BatchConflictError(DomainError):
    """The reference was recorded before, with other content."""

    code = "batch-conflict"

    def __init__(self, ref: str) -> None:
        super().__init__(f"Batch {ref} was recorded before with other content; use a new ref, or PATCH the batch")


class BatchNotFoundError(DomainError):
    """No batch has this reference."""

    code = "batch-not-found"

    def __init__(self, ref: str) -> None:
        super().__init__(f"No batch has the ref {ref}")


class ProductNotFoundError(DomainError):
    """No batch of this SKU was ever recorded."""

    code = "product-not-found"

    def __init__(self, sku: str) -> None:
        super().__init__(f"No product has the sku {sku}")


class CartNotFoundError(DomainError):
    """The cart was never filled, or was deleted because it had not changed for long."""

    code = "cart-not-found"

    def __init__(self, cart_id: str) -> None:
        super().__init__(f"No cart has the id {cart_id}")


class CartClosedError(DomainError):
    """A firm order was placed from the cart, so it cannot change any more."""

    code = "cart-closed"

    def __init__(self, cart_id: str, order_id: str | None) -> None:
        super().__init__(f"Cart {cart_id} is closed: order {order_id} was placed from it; use a new cart")


class CartEmptyError(DomainError):
    """The cart has no item to check out."""

    code = "cart-empty"

    def __init__(self, cart_id: str) -> None:
        super().__init__(f"Cart {cart_id} has no item")


class PriceChangedError(DomainError):
    """The item is in the cart with another unit price."""

    code = "price-changed"

    def __init__(self, cart_id: str, sku: str, unit_price: int) -> None:
        super().__init__(f"Sku {sku} is in cart {cart_id} with the unit price {unit_price}; PUT the item to change it")


class CurrencyMismatchError(DomainError):
    """The cart has another currency."""

    code = "currency-mismatch"

    def __init__(self, cart_id: str, currency: str) -> None:
        super().__init__(f"Cart {cart_id} has the currency {currency}")


class CartLimitExceededError(DomainError):
    """The cart would have too many items, or too large a quantity or total."""

    code = "cart-limit-exceeded"


class CheckoutConflictError(DomainError):
    """The cart was checked out before with another order id."""

    code = "checkout-conflict"

    def __init__(self, cart_id: str, order_id: str) -> None:
        super().__init__(f"Cart {cart_id} was checked out as order {order_id}; name that order, or none")
