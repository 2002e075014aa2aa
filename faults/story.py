"""The input of the oracle: requests and responses, published events, and the final read side."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from faults.journal import Entry

ORDER_EVENTS = ("order_placed.v1", "order_refused.v1", "order_cancelled.v1", "cart_checked_out.v1")
"""Events of an order as a whole."""


@dataclass(frozen=True, slots=True)
class Event:
    """A record of the events topic, in the order of its partition.

    `subject` is the SKU or, for an event of an order as a whole, the order's id; such an event has no sequence.
    """

    id: str
    type: str
    subject: str
    sequence: int | None
    data: dict[str, Any]
    cause: str
    created: float = 0.0
    partition: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class BatchSeen:
    """A batch of the read side."""

    ref: str
    sku: str
    qty: int
    eta: str | None
    allocated_qty: int
    available_qty: int
    shipped_qty: int = 0
    held_qty: int = 0
    location: str = "main"
    best_before: str | None = None
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class LineSeen:
    """An order line of the read side."""

    order_id: str
    sku: str
    qty: int
    status: str
    batch_ref: str | None
    eta: str | None
    held_until: str | None = None


@dataclass(frozen=True, slots=True)
class OrderSeen:
    """An order of the read side."""

    order_id: str
    complete: bool
    earliest_eta: str | None


@dataclass(frozen=True, slots=True)
class CartSeen:
    """A cart of the read side."""

    cart_id: str
    status: str
    order_id: str | None
    total: int
    items: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ProductSeen:
    """The sums of a product of the read side."""

    sku: str
    available_qty: int
    allocated_qty: int
    backordered_qty: int
    shipped_qty: int = 0
    reorder_point: int | None = None
    held_qty: int = 0


@dataclass
class Story:
    """The data of one round. `inbound` are the `ce_id`s of the inbound topic, `dead` those of the dead letters.

    `inbound_places` are the same by the positions of the records. `now` is the time of the database when the read side
    was read; 0: unknown. `moved`: partitions were added, or topics deleted, so the events of a subject may be in
    several partitions. `restored` are messages that were dead letters, and took effect when they were retried.
    """

    entries: list[Entry]
    events: list[Event]
    batches: dict[str, BatchSeen] = field(default_factory=dict)
    lines: dict[tuple[str, str], LineSeen] = field(default_factory=dict)
    orders: dict[str, OrderSeen] = field(default_factory=dict)
    carts: dict[str, CartSeen] = field(default_factory=dict)
    products: dict[str, ProductSeen] = field(default_factory=dict)
    outbox: int = 0
    inbound: list[str] = field(default_factory=list)
    inbound_places: Mapping[str, str] = field(default_factory=dict)
    inbox: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    now: float = 0.0
    moved: bool = False
    restored: AbstractSet[str] = frozenset()

    @property
    def duplicates(self) -> int:
        """The number of repeated records in the events topic."""
        return len(self.events) - len({event.id for event in self.events})


def time_of(text: str) -> float:
    """The time that is written like this in JSON."""
    return datetime.fromisoformat(text).timestamp()


def first_occurrences(events: Iterable[Event]) -> list[Event]:
    """The events without repeats, in the order of their first occurrence."""
    first: dict[str, Event] = {}
    for event in events:
        first.setdefault(event.id, event)
    return list(first.values())


def in_sequence(events: Iterable[Event]) -> list[Event]:
    """The events of each subject in their order, also if they lie in several partitions."""
    return sorted(events, key=lambda event: (event.sequence or 0, event.created))


def by_cause(events: Iterable[Event]) -> dict[str, list[Event]]:
    """The events that each command caused, in order."""
    caused: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        caused[event.cause].append(event)
    return caused
