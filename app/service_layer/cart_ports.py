"""The interface of the repository of carts."""

from collections.abc import Collection
from typing import Protocol

from app.domain.carts import Cart
from app.service_layer.lock_sets import LockSet


class CartRepository(Protocol):
    """The carts that the group names, each locked until the unit of work ends.

    Call `load` before that of the orders, because it adds orders to the lock set.
    """

    async def load(self, locks: LockSet) -> None:
        """Lock and fetch the carts, and add to the lock set what their checkouts need."""

    def get(self, cart_id: str) -> Cart | None:
        """The cart; None where it does not exist."""

    def add(self, cart: Cart) -> None:
        """Store a new cart."""

    def orders_of_checkout(self, cart_id: str) -> Collection[str]:
        """The ids of the orders that a checkout of the cart in this group may place."""
