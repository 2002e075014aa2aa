"""What the clients want: each actor owns its order lines and its batches, and decides from a seed what to do next.

An actor over HTTP learns from the answers what became of its lines; one over Kafka is told nothing and goes on.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from faults.journal import Entry, Kind, Via

HOT = "SKU-HOT"
SKUS = (HOT, *(f"SKU-{number:02}" for number in range(30)))
UNKNOWN_SKU = "SKU-NOBODY-SELLS"
HOT_SHARE = 0.2
ETAS = (None, "2031-01-01", "2031-02-01", "2031-03-01")
OPENING_QTY = 30

# How often an actor does what, out of a hundred. More is ordered than there is stock for, so that queues form, and
# stock comes in and lines are cancelled often enough for the queues to move.
WEIGHTS = {
    "place": 42,
    "place_again": 7,
    "place_with_other_qty": 2,
    "place_unknown": 1,
    "cancel": 18,
    "cancel_again": 2,
    "record_batch": 7,
    "record_batch_again": 2,
    "change_qty": 12,
    "change_eta": 4,
    "change_both": 3,
}


@dataclass
class _Line:
    order_id: str
    sku: str
    qty: int
    if_unavailable: str

    @property
    def order(self) -> dict[str, Any]:
        return {"order_id": self.order_id, "sku": self.sku, "qty": self.qty, "if_unavailable": self.if_unavailable}


@dataclass
class _Batch:
    ref: str
    sku: str
    first: dict[str, Any]
    qty: int


class Actor:
    """One sequential client. `commands` yields what it does next, once what it did before has been answered."""

    def __init__(self, name: str, via: Via, seed: int) -> None:
        self.name = name
        self.via = via
        self._random = random.Random(f"{seed} {name}")
        self._lines: list[_Line] = []
        self._gone: list[_Line] = []
        self._batches: list[_Batch] = []
        self._count = 0

    def opening(self, skus: Sequence[str]) -> Iterator[Entry]:
        """One batch for each SKU, so that all of them are known before anybody orders."""
        for sku in skus:
            yield self._record_batch(sku, OPENING_QTY, None)

    def next(self) -> Entry:
        """What to do now."""
        (deed,) = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))
        entry: Entry | None = getattr(self, f"_{deed}")()
        return entry or self._place()

    def learn(self, entry: Entry) -> None:
        """Remember what the answer says of a line that was to be refused rather than to wait."""
        final = entry.final
        if entry.kind == "allocate" and self.via == "http" and (final is None or (final.status or 0) >= 400):
            self._lines = [line for line in self._lines if line.order != entry.data]

    def _entry(self, kind: Kind, data: dict[str, Any]) -> Entry:
        self._count += 1
        return Entry(f"{self.name}.{self._count}", self.name, self.via, kind, data)

    def _sku(self) -> str:
        return HOT if self._random.random() < HOT_SHARE else self._random.choice(SKUS[1:])

    def _place(self) -> Entry:
        if self._gone and self._random.random() < 0.1:
            line = self._gone.pop(self._random.randrange(len(self._gone)))
        else:
            if_unavailable = "reject" if self._random.random() < 0.2 else "backorder"
            line = _Line(f"{self.name}-{self._count}", self._sku(), self._random.randint(1, 9), if_unavailable)
        self._lines.append(line)
        return self._entry("allocate", line.order)

    def _place_again(self) -> Entry | None:
        line = self._some_line()
        return None if line is None else self._entry("allocate", line.order)

    def _place_with_other_qty(self) -> Entry | None:
        # A message is not answered, so over Kafka nobody knows whether such a line waits or was refused.
        line = self._some_line()
        if line is None or line.if_unavailable == "reject":
            return None
        other = _Line(line.order_id, line.sku, line.qty + 1, line.if_unavailable)
        return self._entry("allocate", other.order)

    def _place_unknown(self) -> Entry:
        return self._entry("allocate", _Line(f"{self.name}-{self._count}", UNKNOWN_SKU, 1, "backorder").order)

    def _cancel(self) -> Entry | None:
        if not self._lines:
            return None
        line = self._lines.pop(self._random.randrange(len(self._lines)))
        self._gone.append(line)
        return self._entry("cancel", {"order_id": line.order_id, "sku": line.sku})

    def _cancel_again(self) -> Entry | None:
        if not self._gone:
            return None
        line = self._random.choice(self._gone)
        return self._entry("cancel", {"order_id": line.order_id, "sku": line.sku})

    def _record_batch(self, sku: str = "", qty: int = 0, eta: str | None = "any") -> Entry:
        sku = sku or self._sku()
        ref, qty = f"{self.name}-b{self._count}", qty or self._random.randint(5, 40)
        first = {
            "ref": ref,
            "sku": sku,
            "qty": qty,
            "eta": self._random.choice(ETAS) if eta == "any" else eta,
        }
        self._batches.append(_Batch(ref, sku, first, qty))
        return self._entry("create_batch", first)

    def _record_batch_again(self) -> Entry | None:
        return self._entry("create_batch", self._random.choice(self._batches).first) if self._batches else None

    def _change_qty(self) -> Entry | None:
        batch = self._some_batch()
        return None if batch is None else self._change(batch, {"qty": self._new_qty(batch)})

    def _change_eta(self) -> Entry | None:
        batch = self._some_batch()
        return None if batch is None else self._change(batch, {"eta": self._random.choice(ETAS)})

    def _change_both(self) -> Entry | None:
        # There is no message for both at once.
        batch = self._some_batch() if self.via == "http" else None
        return (
            None
            if batch is None
            else self._change(batch, {"qty": self._new_qty(batch), "eta": self._random.choice(ETAS)})
        )

    def _change(self, batch: _Batch, changes: dict[str, Any]) -> Entry:
        batch.qty = changes.get("qty", batch.qty)
        # The SKU is for the key of the record; over HTTP the ref is enough.
        return self._entry("change_batch", {"ref": batch.ref, "sku": batch.sku, **changes})

    def _new_qty(self, batch: _Batch) -> int:
        """A cut to a half or to nothing, a raise, or the same again."""
        return self._random.choice([batch.qty // 2, batch.qty // 2, 0, batch.qty + 10, batch.qty + 20, batch.qty])

    def _some_line(self) -> _Line | None:
        return self._random.choice(self._lines) if self._lines else None

    def _some_batch(self) -> _Batch | None:
        """One of those recorded lately: the same ones for ever would end in small change."""
        return self._random.choice(self._batches[-20:]) if self._batches else None
