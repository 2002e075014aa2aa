"""What clients do with holds: hold lines and orders, confirm, extend, replace and cancel them, or let them run out.

A client does not learn that a hold has ended; it continues with it, as a late payment does. Over HTTP each request has
an Idempotency-Key, and some are sent again with it.
"""

import random
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from faults.belongings import OwnLine, OwnOrder
from faults.journal import Entry, Kind, Via

SHORT_SHARE = 0.6
SHORTEST, LONGEST = 1, 3
"""Seconds of holds that run out during the load."""

RECENT = 10
"""A client continues with its last holds, and sends its last requests again. Most of the older holds are over."""

YOUNG = 30.0
"""Seconds for which a request may be sent again. A soak lets the stored responses be deleted after a minute."""

CONFLICT = 409

WEIGHTS = {
    "hold": 13,
    "hold_again": 3,
    "hold_otherwise": 1,
    "confirm": 7,
    "cancel_hold": 2,
    "ship_hold": 3,
    "hold_order": 9,
    "hold_order_again": 2,
    "extend": 4,
    "extend_gone": 1,
    "replace_lines": 10,
    "confirm_order": 4,
    "confirm_part": 1,
    "cancel_held_order": 1,
    "cancel_held_part": 1,
    "ship_held_part": 1,
    "send_again": 4,
}
"""Relative frequencies, beside those of the other actions."""


class Client(Protocol):
    """What the actions need of the client that takes them."""

    def make_entry(self, kind: Kind, data: dict[str, Any], key: str = "") -> Entry:
        """A command of the client; `key` is the record key."""

    def new_id(self) -> str:
        """An id for the next thing."""

    def choose_sku(self) -> str:
        """A SKU."""

    def add_line(self, line: OwnLine) -> None:
        """Take over a line that is confirmed."""

    def add_order(self, order: OwnOrder) -> None:
        """Take over an order that is confirmed."""


class HoldActions:
    """The holds of one client."""

    def __init__(self, client: Client, via: Via, choices: random.Random, *, long_hold: int) -> None:
        self._long_hold = long_hold
        self._client = client
        self._via = via
        self._random = choices
        self._lines: list[OwnLine] = []
        self._orders: list[OwnOrder] = []
        self._confirmed: list[OwnLine | OwnOrder] = []
        self._before: dict[str, OwnOrder] = {}
        self._sent: list[tuple[float, Entry]] = []

    def next(self, deed: str) -> Entry | None:
        """The command of the action, None where the client has nothing for it."""
        entry: Entry | None = getattr(self, f"_{deed}")()
        return entry

    def learn(self, entry: Entry, status: int) -> None:
        """Forget holds that were refused; an order that could not be replaced is as before."""
        if status < CONFLICT:
            return
        order_id = entry.data.get("order_id")
        if "hold_for" in entry.data and entry.kind == "allocate":
            self._lines = [line for line in self._lines if line.order_id != order_id]
        elif "hold_for" in entry.data and entry.kind == "place_order":
            self._orders = [order for order in self._orders if order.order_id != order_id]
        elif entry.kind == "hold_order" and "lines" in entry.data:
            self._orders = [self._before.get(each.order_id, each) for each in self._orders]

    def _entry(self, kind: Kind, data: Mapping[str, Any], key: str = "") -> Entry:
        entry = self._client.make_entry(kind, dict(data), key)
        self.add_key(entry)
        return entry

    def add_key(self, entry: Entry) -> None:
        """Give a request over HTTP an Idempotency-Key, with which it may be sent again."""
        if entry.via == "http" and not entry.idempotency_key:
            entry.idempotency_key = f"key-{entry.id}"
            self._sent = [*self._sent[-RECENT:], (time.monotonic(), entry)]

    def _send_again(self) -> Entry | None:
        """The same request with the same key."""
        young = [entry for sent, entry in self._sent if time.monotonic() - sent < YOUNG]
        if not young:
            return None
        first = self._random.choice(young)
        again = self._client.make_entry(first.kind, dict(first.data), first.key)
        again.idempotency_key, again.repeats = first.idempotency_key, first.id
        return again

    def _seconds(self) -> int:
        return self._random.randint(SHORTEST, LONGEST) if self._random.random() < SHORT_SHARE else self._long_hold

    def _wanted(self, line: OwnLine) -> dict[str, Any]:
        return {**line.names, "qty": line.qty, "hold_for": self._seconds()}

    def _hold(self) -> Entry:
        if_unavailable = self._random.choice(["backorder", "reject"])
        line = OwnLine(
            f"{self._client.new_id()}h", self._client.choose_sku(), self._random.randint(1, 4), if_unavailable
        )
        self._lines.append(line)
        return self._entry("allocate", self._wanted(line))

    def _hold_again(self) -> Entry | None:
        line = self._some_line()
        return None if line is None else self._entry("allocate", self._wanted(line))

    def _hold_otherwise(self) -> Entry | None:
        line = self._some_line()
        return None if line is None else self._entry("allocate", self._wanted(replace(line, qty=line.qty + 1)))

    def _confirm(self) -> Entry | None:
        line = self._some_line()
        if line is None:
            return None
        self._lines.remove(line)
        self._confirmed.append(line)
        self._client.add_line(line)
        return self._entry("allocate", line.order)

    def _cancel_hold(self) -> Entry | None:
        line = self._some_line()
        return None if line is None else self._entry("cancel", line.names)

    def _ship_hold(self) -> Entry | None:
        line = self._some_line()
        return None if line is None else self._entry("ship", line.names)

    def _hold_order(self) -> Entry:
        if_unavailable = self._random.choice(["backorder", "reject"])
        order = OwnOrder(f"{self._client.new_id()}ho", self._order_lines(), if_unavailable)
        self._orders.append(order)
        return self._about(order, "place_order", lines=order.line_fields, hold_for=self._seconds())

    def _hold_order_again(self) -> Entry | None:
        order = self._some_order()
        if order is None:
            return None
        return self._about(order, "place_order", lines=order.line_fields, hold_for=self._seconds())

    def _extend(self) -> Entry | None:
        """Over HTTP only, like `_replace_lines`: there is no message for it. An order may be one line."""
        held: list[OwnLine | OwnOrder] = [*self._lines[-RECENT:], *self._orders[-RECENT:]]
        if self._via != "http" or not held:
            return None
        return self._about(self._random.choice(held), "hold_order", hold_for=self._seconds())

    def _extend_gone(self) -> Entry | None:
        firm = self._confirmed[-RECENT:] if self._via == "http" else []
        return self._about(self._random.choice(firm), "hold_order", hold_for=self._seconds()) if firm else None

    def _replace_lines(self) -> Entry | None:
        order = self._some_order() if self._via == "http" else None
        if order is None:
            return None
        kept = dict(self._random.sample(sorted(order.lines.items()), self._random.randint(0, len(order.lines))))
        after = replace(order, lines={**self._order_lines(), **kept})
        self._before = {order.order_id: order}
        self._orders[self._orders.index(order)] = after
        return self._about(after, "hold_order", lines=after.line_fields, hold_for=self._seconds())

    def _confirm_order(self) -> Entry | None:
        order = self._some_order()
        if order is None:
            return None
        self._orders.remove(order)
        self._confirmed.append(order)
        self._client.add_order(order)
        return self._entry("place_order", order.data, order.order_id)

    def _confirm_part(self) -> Entry | None:
        order = self._some_order()
        if order is None:
            return None
        sku, qty = self._random.choice(list(order.lines.items()))
        return self._about(order, "allocate", sku=sku, qty=qty)

    def _cancel_held_order(self) -> Entry | None:
        order = self._some_order()
        return None if order is None else self._about(order, "cancel_order", lines=order.line_fields)

    def _cancel_held_part(self) -> Entry | None:
        order = self._some_order()
        return None if order is None else self._about(order, "cancel", sku=self._random.choice(list(order.lines)))

    def _ship_held_part(self) -> Entry | None:
        order = self._some_order()
        return None if order is None else self._about(order, "ship", sku=self._random.choice(list(order.lines)))

    def _about(self, order: OwnLine | OwnOrder, kind: Kind, **data: Any) -> Entry:
        return self._entry(kind, {"order_id": order.order_id, **data}, order.order_id)

    def _order_lines(self) -> dict[str, int]:
        return {self._client.choose_sku(): self._random.randint(1, 3) for _ in range(self._random.randint(1, 3))}

    def _some_line(self) -> OwnLine | None:
        return self._random.choice(self._lines[-RECENT:]) if self._lines else None

    def _some_order(self) -> OwnOrder | None:
        return self._random.choice(self._orders[-RECENT:]) if self._orders else None
