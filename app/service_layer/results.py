"""What a command answers and a query shows: snapshots that no later command of the group can change."""

from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field

from app.domain.choice import MAIN_LOCATION
from app.domain.product import Product
from app.domain.relocation import Move
from app.domain.stock import Allocation, Batch
from app.integration.fields import (
    AllocatedQuantity,
    AvailableQuantity,
    BackorderedQuantity,
    BatchBestBefore,
    BatchBlocked,
    BatchLocation,
    BatchRef,
    Eta,
    HeldQuantity,
    HeldUntil,
    IncomingQuantity,
    LineQuantity,
    NameOfLine,
    OnHandQuantity,
    OrderId,
    PurchasedQuantity,
    ReorderPoint,
    ShippedQuantity,
    Sku,
)
from app.service_layer.entity_tags import entity_tag, product_tag

ProductSequence = Annotated[int, Field(exclude=True)]
"""The sequence of the product; it is not shown, and goes into its tag."""

LineStatus = Literal["allocated", "backordered", "held", "shipped"]


@dataclass(frozen=True, slots=True)
class BatchState:
    """The current state of a batch."""

    ref: BatchRef
    sku: Sku
    qty: PurchasedQuantity
    eta: Eta
    allocated_qty: AllocatedQuantity
    shipped_qty: ShippedQuantity
    available_qty: AvailableQuantity
    held_qty: HeldQuantity
    location: BatchLocation = MAIN_LOCATION
    best_before: BatchBestBefore = None
    blocked: BatchBlocked = False

    @property
    def tag(self) -> str:
        """The entity tag of the batch."""
        quantities = (self.qty, self.allocated_qty, self.shipped_qty, self.held_qty)
        terms = (self.location, self.best_before, self.blocked)
        # A batch without terms has the tag that releases before had for it.
        plain = (MAIN_LOCATION, None, False)
        return entity_tag(self.ref, self.sku, self.eta, *quantities, *(terms if terms != plain else ()))

    @classmethod
    def of(cls, sku: str, batch: Batch) -> Self:
        """The state of a batch of the product `sku`."""
        return cls(
            ref=batch.ref,
            sku=sku,
            qty=batch.qty,
            eta=batch.eta,
            allocated_qty=batch.allocated_qty,
            shipped_qty=batch.shipped_qty,
            available_qty=batch.available_qty,
            held_qty=batch.held_qty,
            location=batch.location,
            best_before=batch.best_before,
            blocked=batch.is_blocked,
        )


@dataclass(frozen=True, slots=True)
class AllocationState:
    """The current state of an order line."""

    order_id: OrderId
    sku: Sku
    qty: LineQuantity
    status: Annotated[
        LineStatus,
        Field(
            description=(
                "Whether the line is allocated to a batch, held by it until `held_until`, waits in the queue of its "
                "SKU, or is shipped."
            )
        ),
    ]
    batch_ref: Annotated[
        str | None, Field(description="The batch of the line; null if it is backordered.", examples=["batch-1"])
    ]
    eta: Annotated[
        date | None,
        Field(
            description="The day the batch arrives; null if it is in the warehouse or the line is backordered.",
            examples=["2030-01-01"],
        ),
    ]
    held_until: HeldUntil
    line: NameOfLine = ""

    @classmethod
    def of(cls, allocation: Allocation) -> Self:
        """The state of an accepted line."""
        line, batch = allocation.line, allocation.batch
        return cls(
            order_id=line.order_id,
            sku=line.sku,
            qty=line.qty,
            status=status_of(
                is_allocated=batch is not None,
                is_shipped=allocation.shipped_sequence is not None,
                is_held=allocation.is_held,
            ),
            batch_ref=batch.ref if batch else None,
            eta=batch.eta if batch else None,
            held_until=allocation.held_until,
            line=line.name,
        )


def status_of(*, is_allocated: bool, is_shipped: bool, is_held: bool) -> LineStatus:
    """The status of an accepted line."""
    if is_shipped:
        return "shipped"
    if is_held:
        return "held"
    return "allocated" if is_allocated else "backordered"


@dataclass(frozen=True, slots=True)
class LineMove:
    """An order line that was moved off a batch."""

    order_id: OrderId
    sku: Sku
    qty: LineQuantity
    from_batch_ref: Annotated[str, Field(description="The previous batch of the line.", examples=["batch-1"])]
    to_batch_ref: Annotated[
        str | None,
        Field(description="The new batch of the line; null if it is backordered.", examples=["batch-2"]),
    ]
    line: NameOfLine = ""

    @classmethod
    def of(cls, move: Move) -> Self:
        """The move as callers see it."""
        return cls(
            order_id=move.line.order_id,
            sku=move.line.sku,
            qty=move.line.qty,
            from_batch_ref=move.from_batch.ref,
            to_batch_ref=move.to_batch.ref if move.to_batch else None,
            line=move.line.name,
        )


@dataclass(frozen=True, slots=True)
class BatchRecorded:
    """The outcome of CreateBatch; `created` is False where the same batch had been recorded before."""

    batch: BatchState
    created: bool


@dataclass(frozen=True, slots=True)
class LineAccepted:
    """The outcome of Allocate. `changed` is True if the command placed the line or confirmed its hold."""

    allocation: AllocationState
    changed: bool


Complete = Annotated[
    bool,
    Field(description="Whether each line is allocated or shipped.", examples=[True]),
]
EarliestEta = Annotated[
    date | None,
    Field(
        description=(
            "The day on which the last batch of the order arrives, so that all lines can be shipped together; null if "
            "all batches are in the warehouse or a line is backordered."
        ),
        examples=["2030-01-01"],
    ),
]


@dataclass(frozen=True, slots=True)
class OrderState:
    """The current state of an order."""

    order_id: OrderId
    lines: Annotated[list[AllocationState], Field(description="The lines of the order, by SKU and `line`.")]
    complete: Complete
    earliest_eta: EarliestEta

    @classmethod
    def of(cls, order_id: str, lines: list[AllocationState]) -> Self:
        """The state of the order that has these lines."""
        complete = all(line.status in {"allocated", "shipped"} for line in lines)
        etas = [line.eta for line in lines if line.eta is not None and line.status != "shipped"]
        is_dated = all(line.status != "backordered" for line in lines)
        return cls(order_id, lines, complete, max(etas, default=None) if is_dated else None)


@dataclass(frozen=True, slots=True)
class OrderAccepted:
    """The outcome of PlaceOrder. `changed` is True if the command placed or held the order, or confirmed its hold."""

    order: OrderState
    changed: bool


@dataclass(frozen=True, slots=True)
class BatchChanged:
    """The outcome of a change of a batch: the batch as it is now, and the lines that had to leave it."""

    batch: BatchState
    moved: list[LineMove]


@dataclass(frozen=True, slots=True)
class BatchTransferred:
    """The outcome of a transfer: both batches as they are now, and the lines that left the first one."""

    batch: Annotated[BatchState, Field(description="The new batch.")]
    source: Annotated[BatchState, Field(description="The batch that the pieces were taken from.")]
    moved: Annotated[list[LineMove], Field(description="The lines that left that batch, oldest request first.")]
    created: Annotated[bool, Field(exclude=True)]

    @classmethod
    def of(cls, sku: str, source: Batch, new: Batch, moved: list[LineMove], *, created: bool) -> Self:
        """The outcome; `created` is False where the same transfer was made before."""
        return cls(BatchState.of(sku, new), BatchState.of(sku, source), moved, created)


@dataclass(frozen=True, slots=True)
class StockState:
    """The reorder point of a product, and its current quantities."""

    sku: Sku
    reorder_point: ReorderPoint
    available_qty: AvailableQuantity
    backordered_qty: BackorderedQuantity
    incoming_qty: IncomingQuantity
    held_qty: HeldQuantity
    sequence: ProductSequence = field(default=0, compare=False)

    @property
    def tag(self) -> str:
        """The entity tag of the product."""
        return product_tag(self.sku, self.sequence, self.reorder_point, self.available_qty, self.backordered_qty)

    @classmethod
    def of(cls, product: Product) -> Self:
        """The product as it is now."""
        level = product.batches.level(product.reorder_point, product.held_qty)
        return cls(
            sku=product.sku,
            reorder_point=level.reorder_point,
            available_qty=level.available_qty,
            backordered_qty=product.backordered_qty,
            incoming_qty=level.incoming_qty,
            held_qty=product.held_qty,
            sequence=product.sequence,
        )


@dataclass(frozen=True, slots=True)
class ProductCounted:
    """The outcome of a count: the product as it is now, and the lines that had to leave their batches."""

    stock: StockState
    on_hand_qty: OnHandQuantity
    moved: list[LineMove]


@dataclass(frozen=True, slots=True)
class StockRedistributed:
    """The outcome of a redistribution: the lines that got stock, and those that gave it."""

    sku: Sku
    served: Annotated[list[AllocationState], Field(description="The waiting lines that were allocated.")]
    moved: Annotated[
        list[LineMove], Field(description="The lines that were moved off their batches, oldest request first.")
    ]
