"""The outcome of a command if it ran now. The handler of the command runs on a snapshot, so the rules are the same.

Nothing is locked, stored or published, and nothing is reserved.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from app.adapters.postgresql.snapshot import Snapshots
from app.domain.choice import Requirements
from app.domain.commands import Allocate, PlaceOrder, Redistribute
from app.domain.stock import Batch, line_key
from app.integration.fields import Eta, OrderId
from app.service_layer.line_handlers import allocate
from app.service_layer.lock_sets import LockSet
from app.service_layer.order_handlers import place_order
from app.service_layer.ports import UnitOfWork
from app.service_layer.product_handlers import redistribute_stock
from app.service_layer.results import AllocationState, Complete, EarliestEta, StockRedistributed

MOST_PASSED_OVER = 100
MOST_PIECES = 100
"""As many as an order has lines."""

ReasonCode = Literal["in_warehouse", "earliest_arrival", "out_of_stock", "already_accepted"]
PassedOverReason = Literal["blocked", "expired", "elsewhere", "too_small"]

EXPLANATIONS: dict[ReasonCode, str] = {
    "in_warehouse": "The batch is in the warehouse and can hold the whole line.",
    "earliest_arrival": "No batch in the warehouse can hold the whole line; of the others, this one arrives first.",
    "out_of_stock": "No batch can hold the whole line, so it would be backordered.",
    "already_accepted": "The line was accepted before; this is its current state.",
}


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A batch with free pieces that the line does not get, although it would come first, and the reason."""

    batch_ref: Annotated[str, Field(description="The ref of the batch.", examples=["batch-2"])]
    reason: Annotated[
        PassedOverReason,
        Field(
            description="`blocked`; `expired`: not good for as long as required; `elsewhere`: in another location; "
            "`too_small`: not enough pieces.",
            examples=["too_small"],
        ),
    ]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a line, and the batch that can hold it."""

    qty: Annotated[int, Field(ge=1, description="Pieces.", examples=[50])]
    batch_ref: Annotated[str, Field(description="The ref of the batch.", examples=["batch-1"])]
    eta: Eta


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationPreview(AllocationState):
    """The outcome of a dry run for an order line, and its reason."""

    reason: Annotated[ReasonCode, Field(description="The reason, for programs.", examples=["in_warehouse"])]
    explanation: Annotated[str, Field(description="The reason, for people.", examples=[EXPLANATIONS["in_warehouse"]])]
    passed_over: Annotated[
        list[PassedOver],
        Field(
            description=f"The first {MOST_PASSED_OVER} batches that the line does not get, most preferred first. Left "
            "out if there is none, or if all of them are too small.",
            exclude_if=lambda value: not value,
        ),
    ]
    pieces: Annotated[
        list[Piece],
        Field(
            description="If no batch can hold the whole line, but several can together: the quantities, in order of "
            "preference, that would be allocated as lines of their own, with another `line` each. Left out otherwise.",
            exclude_if=lambda value: not value,
        ),
    ]


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

        async def decide(uow: UnitOfWork) -> AllocationPreview:
            wanted = {(command.sku, command.line): (command.qty, command.requirements)}
            passed_over = await _passed_over(wanted, uow)
            accepted = await allocate(command, uow)
            return _explained(accepted.allocation, passed_over, uow, accepted=not accepted.changed)

        return await self._snapshots.run(_whole_products(command), decide)

    async def redistribute(self, command: Redistribute) -> StockRedistributed:
        """The lines that would get stock, and those that would give it."""
        work = partial(redistribute_stock, command, is_dry_run=True)
        return await self._snapshots.run(LockSet.of([command]), work)

    async def place_order(self, command: PlaceOrder) -> OrderPreview:
        """The order as the command would place it."""

        async def decide(uow: UnitOfWork) -> OrderPreview:
            wanted = {(line.sku, line.line): (line.qty, line.requirements) for line in command.lines}
            passed_over = await _passed_over(wanted, uow)
            accepted = await place_order(command, uow)
            order = accepted.order
            lines = [_explained(line, passed_over, uow, accepted=not accepted.changed) for line in order.lines]
            return OrderPreview(order.order_id, lines, order.complete, order.earliest_eta)

        return await self._snapshots.run(_whole_products(command), decide)


def _whole_products(command: Allocate | PlaceOrder) -> LockSet:
    """What the command locks, and all batches of its products, to say why they are passed over."""
    locks = LockSet.of([command])
    locks.skus |= locks.products
    return locks


_LineId = tuple[str, str]
"""SKU and name of a line."""


async def _passed_over(
    wanted: Mapping[_LineId, tuple[int, Requirements]], uow: UnitOfWork
) -> dict[_LineId, list[tuple[str, PassedOverReason]]]:
    """By line: the batches that it does not get, up to the one that it gets."""
    found: dict[_LineId, list[tuple[str, PassedOverReason]]] = {}
    for (sku, line), (qty, requirements) in wanted.items():
        product = uow.products.get(sku)
        if product is None:
            continue
        await uow.products.fetch_unfit(product, limit=MOST_PASSED_OVER)
        best = product.batches.best(qty, requirements)
        found[sku, line] = [
            (batch.ref, reason)
            for batch in product.batches.refused_before(best, requirements.locations)
            if (reason := _refusal(batch, qty, requirements))
        ][:MOST_PASSED_OVER]
    return found


def _refusal(batch: Batch, qty: int, requirements: Requirements) -> PassedOverReason | None:
    """Why the batch cannot hold the line; None: it can, or it has no pieces anyway."""
    if not batch.free_qty:
        return None
    if batch.is_blocked:
        return "blocked"
    if batch.is_expired or not batch.is_good_through(requirements.good_until):
        return "expired"
    if not batch.meets(requirements):
        return "elsewhere"
    return "too_small" if batch.available_qty < qty else None


def _explained(
    state: AllocationState,
    passed_over: Mapping[_LineId, list[tuple[str, PassedOverReason]]],
    uow: UnitOfWork,
    *,
    accepted: bool,
) -> AllocationPreview:
    reason = "already_accepted" if accepted else _reason(state)
    others = [] if accepted else [PassedOver(*each) for each in passed_over.get((state.sku, state.line), ())]
    if all(each.reason == "too_small" for each in others):
        # The explanation says it.
        others = []
    return AllocationPreview(
        **asdict(state),
        reason=reason,
        explanation=EXPLANATIONS[reason],
        passed_over=others,
        pieces=_pieces(state, uow) if reason == "out_of_stock" else [],
    )


def _pieces(state: AllocationState, uow: UnitOfWork) -> list[Piece]:
    """Parts of the line, each of which a batch can hold; none if all batches together cannot hold it."""
    product = uow.products.get(state.sku)
    if product is None:
        return []
    requirements = product.allocations[line_key(state.order_id, state.line)].line.requirements
    pieces: list[Piece] = []
    missing = state.qty
    for batch in product.batches.by_preference(requirements.locations):
        if batch.available_qty and batch.meets(requirements):
            pieces.append(Piece(min(missing, batch.available_qty), batch.ref, batch.eta))
            missing -= pieces[-1].qty
            if not missing:
                return pieces if len(pieces) <= MOST_PIECES else []
    return []


def _reason(state: AllocationState) -> ReasonCode:
    if state.batch_ref is None:
        return "out_of_stock"
    return "in_warehouse" if state.eta is None else "earliest_arrival"
