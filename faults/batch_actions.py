"""What clients do with stock: record batches, change, move, block and count them, and set reorder points."""

import random
from typing import Any, Protocol

from faults.belongings import OwnBatch
from faults.journal import Entry, Kind, Via

ETAS = (None, "2031-01-01", "2031-02-01", "2031-03-01")
LOCATIONS = ("main", "main", "north", "south")
BEST_BEFORE = (None, None, "2090-01-01", "2095-01-01")
"""No goods expire during the load."""

BLOCKED_SHARE = 0.05
COUNTED = {"SKU-25": "h1", "SKU-26": "h2", "SKU-27": "h3", "SKU-28": "k0", "SKU-29": "k1"}
"""Products that are counted, and the client that counts them. It alone records and changes their batches."""

COUNTED_SHARE = 0.4
"""The share of the batches of such a client that are of its product: a count is then of several."""

WATCHED = {"SKU-HOT": "h0", "SKU-20": "h1", "SKU-21": "h2", "SKU-22": "h3"}
"""Products with a reorder point, and the client that sets it."""

REORDER_POINTS = (0, 5, 20, 40)
ON_HAND = (0, 3, 8, 15, 25)
KNOWN_SHARE = 0.5
"""The share of the counts of a batch that say how much was shipped by then."""

WEIGHTS_OF_1_0_0RC1 = {
    "record_batch": 8,
    "record_batch_again": 2,
    "change_qty": 11,
    "change_eta": 4,
    "change_both": 3,
}
WEIGHTS = {
    **WEIGHTS_OF_1_0_0RC1,
    "move_batch": 3,
    "change_life": 3,
    "block": 3,
    "recall": 3,
    "unblock": 6,
    "count_batch": 1,
    "count_product": 7,
    "set_reorder_point": 6,
}
"""Relative frequencies, beside those of the other actions."""


class Client(Protocol):
    """What the actions need of the client that takes them."""

    name: str

    def make_entry(self, kind: Kind, data: dict[str, Any], key: str = "") -> Entry:
        """A command of the client; `key` is the record key."""

    def new_id(self) -> str:
        """An id for the next thing."""

    def choose_sku(self) -> str:
        """A SKU."""


class BatchActions:
    """The batches of one client."""

    def __init__(self, client: Client, via: Via, choices: random.Random, *, terms: bool) -> None:
        self._terms = terms
        self._client = client
        self._via = via
        self._random = choices
        self._own: list[OwnBatch] = []
        self._counted = [sku for sku, name in COUNTED.items() if name == client.name]

    def next(self, deed: str) -> Entry | None:
        """The command of the action, None where the client has nothing for it."""
        entry: Entry | None = getattr(self, f"_{deed}")()
        return entry

    def record(self, sku: str, qty: int, eta: str | None = None, **terms: Any) -> Entry:
        """Record a batch."""
        name, _, number = self._client.new_id().rpartition("-")
        first = {"ref": f"{name}-b{number}", "sku": sku, "qty": qty, "eta": eta, **terms}
        self._own.append(OwnBatch(first["ref"], sku, first, qty, terms.get("blocked", False)))
        return self._client.make_entry("create_batch", first)

    def leave_counted(self) -> None:
        """Leave batches to the clients that count their products."""
        self._own = [batch for batch in self._own if COUNTED.get(batch.sku, self._client.name) == self._client.name]

    def _record_batch(self) -> Entry | None:
        sku, qty, eta = self._client.choose_sku(), self._random.randint(5, 40), self._random.choice(ETAS)
        if self._counted and self._random.random() < COUNTED_SHARE:
            sku = self._counted[0]
        elif COUNTED.get(sku, self._client.name) != self._client.name:
            return None
        if not self._terms:
            return self.record(sku, qty, eta)
        terms: dict[str, Any] = {
            "location": self._random.choice(LOCATIONS),
            "best_before": self._random.choice(BEST_BEFORE),
        }
        if self._random.random() < BLOCKED_SHARE:
            terms["blocked"] = True
        return self.record(sku, qty, eta, **{name: value for name, value in terms.items() if value != "main"})

    def _record_batch_again(self) -> Entry | None:
        return self._client.make_entry("create_batch", self._random.choice(self._own).first) if self._own else None

    def _change_qty(self) -> Entry | None:
        batch = self._some_batch()
        return None if batch is None else self._change(batch, {"qty": self._new_qty(batch)})

    def _change_eta(self) -> Entry | None:
        batch = self._some_batch()
        return None if batch is None else self._change(batch, {"eta": self._random.choice(ETAS)})

    def _change_both(self) -> Entry | None:
        # No message changes both.
        batch = self._some_batch() if self._via == "http" else None
        return (
            None
            if batch is None
            else self._change(batch, {"qty": self._new_qty(batch), "eta": self._random.choice(ETAS)})
        )

    def _change(self, batch: OwnBatch, changes: dict[str, Any]) -> Entry:
        batch.qty = changes.get("qty", batch.qty)
        batch.blocked = changes.get("blocked", batch.blocked)
        # The SKU is the record key; over HTTP the ref is enough.
        return self._client.make_entry("change_batch", {"ref": batch.ref, "sku": batch.sku, **changes})

    def _count_batch(self) -> Entry | None:
        batch = self._some_batch()
        if batch is None:
            return None
        on_hand = {"on_hand_qty": self._random.choice([batch.qty // 2, batch.qty // 2, 0, batch.qty])}
        if self._random.random() < KNOWN_SHARE:
            return self._change(batch, {**on_hand, "shipped_qty": self._random.randint(0, 3)})
        return self._once(self._change(batch, on_hand))

    def _count_product(self) -> Entry | None:
        if not self._counted:
            return self._count_batch()
        count = {"on_hand_qty": self._random.choice(ON_HAND), "location": self._random.choice(LOCATIONS)}
        return self._once(self._client.make_entry("count_product", {"sku": self._counted[0], **count}))

    def _set_reorder_point(self) -> Entry | None:
        own = [sku for sku, name in WATCHED.items() if name == self._client.name]
        if not own:
            return self._count_batch()
        data = {"sku": own[0], "qty": self._random.choice(REORDER_POINTS)}
        return self._once(self._client.make_entry("set_reorder_point", data))

    def _once(self, entry: Entry) -> Entry:
        """Give it a key: a repeated count would add what was shipped meanwhile. A message is handled once anyway."""
        if self._via == "http":
            entry.idempotency_key = f"key-{entry.id}"
        return entry

    def _move_batch(self) -> Entry | None:
        batch = self._some_batch()
        return None if batch is None else self._change(batch, {"location": self._random.choice(LOCATIONS)})

    def _change_life(self) -> Entry | None:
        batch = self._some_batch()
        return None if batch is None else self._change(batch, {"best_before": self._random.choice(BEST_BEFORE)})

    def _block(self) -> Entry | None:
        batch = self._some_batch()
        return None if batch is None else self._change(batch, {"blocked": True})

    def _recall(self) -> Entry | None:
        batch = self._some_batch()
        return None if batch is None else self._change(batch, {"blocked": True, "reallocate": True})

    def _unblock(self) -> Entry | None:
        blocked = [batch for batch in self._own if batch.blocked]
        return self._change(self._random.choice(blocked), {"blocked": False}) if blocked else None

    def _new_qty(self, batch: OwnBatch) -> int:
        """A cut to a half or to 0, an increase, or the same quantity."""
        return self._random.choice([batch.qty // 2, batch.qty // 2, 0, batch.qty + 10, batch.qty + 20, batch.qty])

    def _some_batch(self) -> OwnBatch | None:
        """A recently recorded batch: changing the same ones repeatedly would leave very small quantities."""
        return self._random.choice(self._own[-20:]) if self._own else None
