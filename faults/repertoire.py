"""What the clients do, and how often: everything, or what an older release supports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faults import batch_actions, cart_actions, hold_actions

# What lines require of their batch. Most require nothing.
WISHES: tuple[dict[str, Any], ...] = (
    *[{}] * 3,
    {"priority": 8},
    {"priority": 2},
    {"from": ["main"]},
    {"from": ["north", "main"], "priority": 6},
    {"from": ["south", "north", "main"], "good_until": "2092-01-01"},
    {"good_until": "2092-01-01"},
)

WISHES_OF_ORDERS: tuple[dict[str, Any], ...] = (*[{}] * 4, {"from": ["main", "south"]}, {"from": ["north", "main"]})

# Relative frequencies of actions. Orders exceed the stock, so that queues form; new stock and cancellations are
# frequent enough to serve them.
WEIGHTS = {
    "place": 28,
    "place_again": 5,
    "place_with_other_qty": 2,
    "place_unknown": 1,
    "cancel": 14,
    "cancel_again": 2,
    "ship": 7,
    "ship_waiting": 2,
    "ship_again": 2,
    "ship_gone": 1,
    "cancel_shipped": 2,
    "place_order": 7,
    "place_order_again": 2,
    "place_order_otherwise": 1,
    "place_order_unknown": 1,
    "cancel_order": 4,
    "cancel_order_again": 1,
    "cancel_part": 1,
    "ship_part": 3,
}


@dataclass(frozen=True)
class Repertoire:
    """What clients do: relative frequencies of actions, and what lines and orders require of their batches.

    `terms`: new batches have a location and a best-before day, and some are blocked. `keys`: all requests have an
    Idempotency-Key, not only those about holds. `long_hold` are the seconds of holds that do not run out during a short
    load.
    """

    weights: Mapping[str, int]
    wishes: Sequence[Mapping[str, Any]]
    wishes_of_orders: Sequence[Mapping[str, Any]]
    terms: bool
    keys: bool
    long_hold: int = 600


EVERYTHING = Repertoire(
    WEIGHTS | hold_actions.WEIGHTS | batch_actions.WEIGHTS | cart_actions.WEIGHTS,
    WISHES,
    WISHES_OF_ORDERS,
    terms=True,
    keys=False,
)
OF_1_0_0RC1 = Repertoire(
    WEIGHTS | batch_actions.WEIGHTS_OF_1_0_0RC1 | {"send_again": 8}, ({},), ({},), terms=False, keys=True
)
"""What release 1.0.0rc1 supports: no holds, no locations, no best-before days, no blocking, no priorities."""
