"""The expected effects of commands on carts. A checkout is an order, so its lines are checked as those of one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from faults.expected import CONFLICT, CREATED, MISSING, OK, Expected, History
from faults.journal import Entry
from faults.order_effects import place_order
from faults.story import CartSeen, Event


@dataclass
class Cart:
    """A cart as its client knows it: quantity and unit price of each SKU."""

    items: dict[str, tuple[int, int]] = field(default_factory=dict)
    status: str = "open"
    order_id: str | None = None

    def seen(self, cart_id: str) -> CartSeen:
        """The same as it should be read."""
        return CartSeen(cart_id, self.status, self.order_id, self.total, self.item_fields)

    @property
    def total(self) -> int:
        """The sum over the items."""
        return sum(qty * price for qty, price in self.items.values())

    @property
    def item_fields(self) -> list[dict[str, Any]]:
        """The items as responses and events have them."""
        return [{"sku": sku, "qty": qty, "unit_price": price} for sku, (qty, price) in sorted(self.items.items())]


def set_item(expected: Expected, entry: Entry, events: Sequence[Event], _: History) -> None:
    """The cart has the item, unless it is closed. Nothing is published, and no stock is touched."""
    cart = expected.carts.setdefault(entry.data["cart_id"], Cart())
    expected.demand(entry, "an item of a cart was set, and had events", len(events), 0)
    if cart.status == "closed":
        expected.demand_answer(entry, [CONFLICT])
        return
    is_known = entry.data["sku"] in cart.items
    cart.items[entry.data["sku"]] = (entry.data["qty"], entry.data["unit_price"])
    cart.status = "open"
    expected.demand_answer(entry, [OK] if is_known else [CREATED], [OK])
    final = entry.final
    if final is not None and final.status in {OK, CREATED}:
        shown = (final.body["items"], final.body["total"], final.body["status"])
        if shown != (cart.item_fields, cart.total, cart.status):
            expected.fault(entry, f"the answer says {final.body}, and the cart has {cart}")


def check_out(expected: Expected, entry: Entry, events: Sequence[Event], history: History) -> None:
    """The order of the items is placed or held, and published with the cart; a closed cart has no effect any more."""
    cart = expected.carts.setdefault(entry.data["cart_id"], Cart())
    published = [event for event in events if event.type == "cart_checked_out.v1"]
    if cart.status == "closed":
        expected.demand(entry, "the cart was closed, and its checkout had events", len(events), 0)
        expected.demand_answer(entry, [OK] if expected.lines_of(entry.data["order_id"]) else [MISSING])
        return
    place_order(expected, entry, events, history)
    final = entry.final
    if final is None or final.status not in {OK, CREATED}:
        expected.demand(entry, "the checkout was refused, and published", len(published), 0)
        return
    status = "checked_out" if "hold_for" in entry.data else "closed"
    is_held_again = any(event.type == "line_held.v1" for event in events)
    expected.demand(entry, "the cart was published", len(published), int(is_held_again or status != cart.status))
    cart.status, cart.order_id = status, entry.data["order_id"]
    said = [(event.subject, event.data["cart_id"], event.data["items"], event.data["total"]) for event in published]
    if any(each != (cart.order_id, entry.data["cart_id"], cart.item_fields, cart.total) for each in said):
        expected.fault(entry, f"the event says {published[0].data}, and the cart has {cart}")
    if any((event.data["held_until"] is None) != (status == "closed") for event in published):
        expected.fault(entry, f"the event says {published[0].data}, and it is {status}")
    if (final.body["cart_id"], final.body["total"]) != (entry.data["cart_id"], cart.total):
        expected.fault(entry, f"the answer says {final.body}, and the cart has {cart}")
