"""What clients do with carts over HTTP: fill them, hold and place their orders, and repeat all of it."""

import random
from dataclasses import dataclass, field
from typing import Any

from faults.belongings import OwnOrder
from faults.hold_actions import LONGEST, SHORTEST, Client
from faults.journal import Entry, Kind, Via

LARGEST = 4
"""The most items of a cart."""

CURRENCY = "EUR"
PRICES = (500, 1990, 4990)

WEIGHTS = {
    "set_item": 6,
    "hold_cart": 3,
    "check_out": 4,
    "check_out_again": 2,
    "set_item_of_closed": 1,
    "cancel_order_of_cart": 2,
}
"""Relative frequencies, beside those of the other actions."""


@dataclass
class OwnCart:
    """A cart and its items: pieces by SKU. `status` is that of the service."""

    cart_id: str
    items: dict[str, int] = field(default_factory=dict)
    status: str = "open"

    @property
    def order(self) -> OwnOrder:
        """The order of its items, in the order of the response."""
        return OwnOrder(f"{self.cart_id}-o", dict(sorted(self.items.items())), "backorder")


class CartActions:
    """The carts of one client."""

    def __init__(self, client: Client, via: Via, choices: random.Random, *, long_hold: int) -> None:
        self._long_hold = long_hold
        self._client = client
        self._via = via
        self._random = choices
        self._carts: dict[str, OwnCart] = {}

    def next(self, deed: str) -> Entry | None:
        """The command of the action, None where the client has nothing for it."""
        entry: Entry | None = getattr(self, f"_{deed}")() if self._via == "http" else None
        return entry

    def learn(self, entry: Entry, *, is_accepted: bool) -> None:
        """Record what an accepted command did to its cart."""
        cart = self._carts.get(entry.data.get("cart_id", ""))
        if cart is None or not is_accepted:
            return
        if entry.kind == "set_item":
            cart.items[entry.data["sku"]] = entry.data["qty"]
        else:
            cart.status = "checked_out" if "hold_for" in entry.data else "closed"

    def _set_item(self) -> Entry:
        cart = self._some("open")
        if cart is None or len(cart.items) == LARGEST:
            cart = OwnCart(f"{self._client.new_id()}c")
            self._carts[cart.cart_id] = cart
        return self._item_of(cart)

    def _item_of(self, cart: OwnCart) -> Entry:
        item = {"sku": self._client.choose_sku(), "qty": self._random.randint(1, 4)}
        price = {"unit_price": self._random.choice(PRICES), "currency": CURRENCY}
        return self._client.make_entry("set_item", {"cart_id": cart.cart_id, **item, **price}, cart.cart_id)

    def _hold_cart(self) -> Entry | None:
        cart = self._some("open", "checked_out")
        if cart is None:
            return None
        entry = self._about(cart, "check_out", hold_for=self._random.choice([SHORTEST, LONGEST, self._long_hold]))
        # A repeated request would hold the order again if the hold has ended meanwhile.
        entry.idempotency_key = f"key-{entry.id}"
        return entry

    def _check_out(self) -> Entry | None:
        cart = self._some("open", "checked_out")
        return None if cart is None else self._place(cart, self._random.choice(["backorder", "reject"]))

    def _check_out_again(self) -> Entry | None:
        cart = self._some("closed")
        return None if cart is None else self._place(cart, "backorder")

    def _set_item_of_closed(self) -> Entry | None:
        cart = self._some("closed")
        return None if cart is None else self._item_of(cart)

    def _cancel_order_of_cart(self) -> Entry | None:
        cart = self._some("closed")
        if cart is None:
            return None
        data = {"order_id": cart.order.order_id, "lines": cart.order.line_fields}
        return self._client.make_entry("cancel_order", data, cart.order.order_id)

    def _place(self, cart: OwnCart, if_unavailable: str) -> Entry:
        return self._about(cart, "check_out", if_unavailable=if_unavailable)

    def _about(self, cart: OwnCart, kind: Kind, **data: Any) -> Entry:
        names = {"order_id": cart.order.order_id, "cart_id": cart.cart_id}
        return self._client.make_entry(kind, {**names, "lines": cart.order.line_fields, **data}, cart.order.order_id)

    def _some(self, *statuses: str) -> OwnCart | None:
        fitting = [each for each in self._carts.values() if each.status in statuses and each.items]
        return self._random.choice(fitting[-5:]) if fitting else None
