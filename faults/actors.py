"""The clients: each actor owns its order lines and batches, and chooses its next command from a seed.

An actor over HTTP gets the outcome of its commands; one over Kafka does not, and continues.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from faults import batch_actions, cart_actions, hold_actions
from faults.belongings import OwnLine, OwnOrder
from faults.journal import Entry, Kind, Via
from faults.repertoire import EVERYTHING, Repertoire

HOT = "SKU-HOT"
SKUS = (HOT, *(f"SKU-{number:02}" for number in range(30)))
UNKNOWN_SKU = "SKU-UNKNOWN"
HOT_SHARE = 0.2
OPENING_QTY = 20
LATER, REFUSED = 202, 400


class Actor:
    """A sequential client. `commands` yields the next command after the response to the previous one."""

    def __init__(self, name: str, via: Via, seed: int, repertoire: Repertoire = EVERYTHING) -> None:
        self.name = name
        self.via = via
        self._repertoire = repertoire
        self._random = random.Random(f"{seed} {name}")
        self._lines: list[OwnLine] = []
        self._gone: list[OwnLine] = []
        self._waiting: list[OwnLine] = []
        self._shipped: list[OwnLine] = []
        self._orders: list[OwnOrder] = []
        self._gone_orders: list[OwnOrder] = []
        self._count = 0
        self._holds = hold_actions.HoldActions(self, via, self._random, long_hold=repertoire.long_hold)
        self._carts = cart_actions.CartActions(self, via, self._random, long_hold=repertoire.long_hold)
        self._batches = batch_actions.BatchActions(self, via, self._random, terms=repertoire.terms)

    def opening(self, skus: Sequence[str]) -> Iterator[Entry]:
        """One batch for each SKU, so that all of them exist before the first order."""
        for sku in skus:
            yield self._batches.record(sku, OPENING_QTY)
        self._batches.leave_counted()

    def next(self) -> Entry:
        """The next action."""
        weights = self._repertoire.weights
        (deed,) = self._random.choices(list(weights), list(weights.values()))
        entry = self._do(deed) or self._place()
        if self._repertoire.keys:
            self._holds.add_key(entry)
        return entry

    def _do(self, deed: str) -> Entry | None:
        if deed in hold_actions.WEIGHTS:
            return self._holds.next(deed)
        if deed in batch_actions.WEIGHTS:
            return self._batches.next(deed)
        if deed in cart_actions.WEIGHTS:
            return self._carts.next(deed)
        entry: Entry | None = getattr(self, f"_{deed}")()
        return entry

    def learn(self, entry: Entry) -> None:
        """Record which lines are backordered, were refused, or could not be shipped."""
        if entry.repeats:
            return
        status = REFUSED if entry.final is None else entry.final.status or REFUSED
        if status == LATER:
            self._waiting = [line for line in self._lines if line in self._waiting or line.order == entry.data]
        self._carts.learn(entry, is_accepted=status < REFUSED)
        if self.via == "kafka" or status < REFUSED:
            return
        self._holds.learn(entry, status)
        match entry.kind:
            case "allocate":
                self._lines = [line for line in self._lines if line.order != entry.data]
            case "place_order":
                self._orders = [order for order in self._orders if order.data != entry.data]
            case "ship":
                self._lines += [line for line in self._shipped if line.names == entry.data]
                self._shipped = [line for line in self._shipped if line.names != entry.data]
            case _:
                pass

    def make_entry(self, kind: Kind, data: dict[str, Any], key: str = "") -> Entry:
        """The next command; `key` is the record key if it is not the SKU."""
        self._count += 1
        return Entry(f"{self.name}.{self._count}", self.name, self.via, kind, data, key=key)

    def new_id(self) -> str:
        """An id for what the next command makes."""
        return f"{self.name}-{self._count}"

    def add_line(self, line: OwnLine) -> None:
        """Add a line that was held and is confirmed."""
        self._lines.append(line)

    def add_order(self, order: OwnOrder) -> None:
        """Add an order that was held and is confirmed."""
        self._orders.append(order)

    def choose_sku(self) -> str:
        """A SKU, often the same one."""
        return HOT if self._random.random() < HOT_SHARE else self._random.choice(SKUS[1:])

    def _place(self) -> Entry:
        if self._gone and self._random.random() < 0.1:
            line = self._gone.pop(self._random.randrange(len(self._gone)))
        else:
            if_unavailable = "reject" if self._random.random() < 0.2 else "backorder"
            qty, wants = self._random.randint(1, 9), dict(self._random.choice(self._repertoire.wishes))
            line = OwnLine(f"{self.name}-{self._count}", self.choose_sku(), qty, if_unavailable, wants)
        self._lines.append(line)
        return self.make_entry("allocate", line.order)

    def _place_again(self) -> Entry | None:
        line = self._some_line()
        return None if line is None else self.make_entry("allocate", line.order)

    def _place_with_other_qty(self) -> Entry | None:
        # A message has no response, so over Kafka it is unknown whether such a line is backordered or was refused.
        line = self._some_line()
        if line is None or line.if_unavailable == "reject":
            return None
        other = OwnLine(line.order_id, line.sku, line.qty + 1, line.if_unavailable, line.wants)
        return self.make_entry("allocate", other.order)

    def _place_unknown(self) -> Entry:
        return self.make_entry("allocate", OwnLine(f"{self.name}-{self._count}", UNKNOWN_SKU, 1, "backorder").order)

    def _cancel(self) -> Entry | None:
        if not self._lines:
            return None
        line = self._lines.pop(self._random.randrange(len(self._lines)))
        self._gone.append(line)
        return self.make_entry("cancel", line.names)

    def _cancel_again(self) -> Entry | None:
        if not self._gone:
            return None
        return self.make_entry("cancel", self._random.choice(self._gone).names)

    def _ship(self) -> Entry | None:
        return self._ship_one_of(self._lines)

    def _ship_waiting(self) -> Entry | None:
        # It may have been allocated meanwhile. Over Kafka no backordered lines are known.
        return self._ship_one_of([line for line in self._waiting if line in self._lines])

    def _ship_one_of(self, lines: Sequence[OwnLine]) -> Entry | None:
        if not lines:
            return None
        line = self._random.choice(lines)
        self._lines.remove(line)
        self._shipped.append(line)
        return self.make_entry("ship", line.names)

    def _ship_again(self) -> Entry | None:
        # Over Kafka the outcome is unknown; a line that was backordered may be shipped now.
        return self.make_entry("ship", self._random.choice(self._shipped).names) if self._shipped else None

    def _ship_gone(self) -> Entry | None:
        return self.make_entry("ship", self._random.choice(self._gone).names) if self._gone else None

    def _cancel_shipped(self) -> Entry | None:
        return self.make_entry("cancel", self._random.choice(self._shipped).names) if self._shipped else None

    def _place_order(self) -> Entry:
        if self._gone_orders and self._random.random() < 0.1:
            order = self._gone_orders.pop(self._random.randrange(len(self._gone_orders)))
        else:
            if_unavailable = "reject" if self._random.random() < 0.3 else "backorder"
            wants = dict(self._random.choice(self._repertoire.wishes_of_orders))
            order = OwnOrder(f"{self.name}-o{self._count}", self._order_lines(), if_unavailable, wants)
        self._orders.append(order)
        return self._about_order("place_order", order, order.data)

    def _place_order_again(self) -> Entry | None:
        order = self._some_order()
        return None if order is None else self._about_order("place_order", order, order.data)

    def _place_order_otherwise(self) -> Entry | None:
        # See `_place_with_other_qty`.
        order = self._some_order()
        if order is None or order.if_unavailable == "reject":
            return None
        other = OwnOrder(order.order_id, self._order_lines(), order.if_unavailable, order.wants)
        return self._about_order("place_order", order, other.data)

    def _place_order_unknown(self) -> Entry:
        order = OwnOrder(f"{self.name}-o{self._count}", {**self._order_lines(), UNKNOWN_SKU: 1}, "backorder")
        return self._about_order("place_order", order, order.data)

    def _cancel_order(self) -> Entry | None:
        if not self._orders:
            return None
        order = self._orders.pop(self._random.randrange(len(self._orders)))
        self._gone_orders.append(order)
        return self._about_order("cancel_order", order, {"order_id": order.order_id, "lines": order.line_fields})

    def _cancel_order_again(self) -> Entry | None:
        if not self._gone_orders:
            return None
        order = self._random.choice(self._gone_orders)
        return self._about_order("cancel_order", order, {"order_id": order.order_id, "lines": order.line_fields})

    def _cancel_part(self) -> Entry | None:
        order = self._some_order()
        return None if order is None else self._about_order("cancel", order, self._part(order))

    def _ship_part(self) -> Entry | None:
        order = self._some_order()
        return None if order is None else self._about_order("ship", order, self._part(order))

    def _about_order(self, kind: Kind, order: OwnOrder, data: dict[str, Any]) -> Entry:
        # Its lines have several SKUs, so with these as record keys one message could overtake another.
        return self.make_entry(kind, data, key=order.order_id)

    def _part(self, order: OwnOrder) -> dict[str, Any]:
        return {"order_id": order.order_id, "sku": self._random.choice(list(order.lines))}

    def _order_lines(self) -> dict[str, int]:
        lines: dict[str, int] = {}
        count = self._random.randint(2, 4)
        while len(lines) < count:
            lines[self.choose_sku()] = self._random.randint(1, 6)
        return lines

    def _some_order(self) -> OwnOrder | None:
        return self._random.choice(self._orders) if self._orders else None

    def _some_line(self) -> OwnLine | None:
        return self._random.choice(self._lines) if self._lines else None
