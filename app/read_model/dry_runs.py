"""The outcome of a command if it ran now. The handler of the command runs on a snapshot, so the rules are the same.

Nothing is locked, stored or published, and nothing is reserved.
"""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from app.adapters.postgresql.snapshot import Snapshots
from app.domain.commands import Allocate, PlaceOrder
from app.integration.fields import OrderId
from app.service_layer.line_handlers import allocate
from app.service_layer.lock_sets import LockSet
from app.service_layer.order_handlers import place_order
from app.service_layer.results import AllocationState, Complete, EarliestEta

ReasonCode = Literal["in_warehouse", "earliest_arrival", "out_of_stock", "already_accepted"]

EXPLANATIONS: dict[ReasonCode, str] = {
    "in_warehouse": "The batch is in the warehouse and can hold the whole line.",
    "earliest_arrival": "No batch in the warehouse can hold the whole line; of the others, this one arrives first.",
    "out_of_stock": "No batch can hold the whole line, so it would be backordered.",
    "already_accepted": "The line was accepted before; this is its current state.",
}


@dataclass(frozen=True, slots=True)
class AllocationPreview(AllocationState):
    """The outcome of a dry run for an order line, and its reason."""

    reason: Annotated[ReasonCode, Field(description="The reason, for programs.", examples=["in_warehouse"])]
    explanation: Annotated[str, Field(description="The reason, for people.", examples=[EXPLANATIONS["in_warehouse"]])]


@dataclass(frozen=True, slots=True)
class OrderPreview:
    """The outcome of a dry run for an order, with the reason for each line."""

    order_id: OrderId
    lines: Annotated[list[AllocationPreview], Field(description="The lines of the order, by SKU.")]
    complete: Complete
    earliest_eta: EarliestEta


class DryRuns:
    """Runs commands on a snapshot and discards their changes. Each method raises what the command would raise."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    async def allocate(self, command: Allocate) -> AllocationPreview:
        """The line as the command would allocate or queue it."""
        accepted = await self._snapshots.run(LockSet.of([command]), partial(allocate, command))
        return _explained(accepted.allocation, accepted=not accepted.created)

    async def place_order(self, command: PlaceOrder) -> OrderPreview:
        """The order as the command would place it."""
        accepted = await self._snapshots.run(LockSet.of([command]), partial(place_order, command))
        order = accepted.order
        lines = [_explained(line, accepted=not accepted.created) for line in order.lines]
        return OrderPreview(order.order_id, lines, order.complete, order.earliest_eta)


def _explained(state: AllocationState, *, accepted: bool) -> AllocationPreview:
    reason = "already_accepted" if accepted else _reason(state)
    return AllocationPreview(**asdict(state), reason=reason, explanation=EXPLANATIONS[reason])


def _reason(state: AllocationState) -> ReasonCode:
    if state.batch_ref is None:
        return "out_of_stock"
    return "in_warehouse" if state.eta is None else "earliest_arrival"
