"""A stand-in for the repository of carts."""

from collections.abc import Collection, Mapping

from app.domain.carts import Cart
from app.service_layer.lock_sets import LockSet


class FakeCartRepository:
    """Implements `CartRepository` over a table; it hands out only carts that were named."""

    def __init__(self, carts: dict[str, Cart]) -> None:
        self._carts = carts
        self._named: set[str] = set()
        self._orders: Mapping[str, Collection[str]] = {}

    async def load(self, locks: LockSet) -> None:
        self._named = set(locks.carts)
        self._orders = locks.add_checkouts(self._carts)

    def get(self, cart_id: str) -> Cart | None:
        return self._carts.get(cart_id) if cart_id in self._named else None

    def add(self, cart: Cart) -> None:
        assert cart.cart_id in self._named
        self._carts[cart.cart_id] = cart

    def orders_of_checkout(self, cart_id: str) -> Collection[str]:
        return self._orders.get(cart_id, ())
