"""The read side: one statement for each question, so that an answer is of one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.errors import BatchNotFoundError, OrderNotFoundError, ProductNotFoundError
from app.integration.fields import (
    AllocatedQuantity,
    AvailableQuantity,
    BackorderedQuantity,
    ReorderPoint,
    ShippedQuantity,
    Sku,
)
from app.read_model.lookup import GroupedLookup
from app.service_layer.results import AllocationState, BatchState, OrderState, status_of

_BATCH = text("SELECT ref, sku, qty, eta, allocated_qty, shipped_qty FROM batches WHERE ref = :ref")

_ALLOCATIONS = text("""
    SELECT l.order_id, l.sku, l.qty, l.shipped, b.ref, b.eta
    FROM unnest(CAST(:order_ids AS text[])) AS named(order_id)
    CROSS JOIN LATERAL (SELECT * FROM order_lines o WHERE o.order_id = named.order_id ORDER BY o.sku) AS l
    LEFT JOIN batches b ON b.sku = l.sku AND b.number = l.batch_number
""")

_PRODUCT = text("""
    SELECT p.sku, p.backordered_qty, p.reorder_point, b.ref, b.qty, b.eta, b.allocated_qty, b.shipped_qty
    FROM products p JOIN batches b ON b.sku = p.sku
    WHERE p.sku = :sku ORDER BY b.eta NULLS FIRST, b.number
""")


@dataclass(frozen=True, slots=True)
class ProductState:
    """A product as it is now: the sums over its batches and its queue, and the batches in the order of preference."""

    sku: Sku
    available_qty: AvailableQuantity
    allocated_qty: AllocatedQuantity
    shipped_qty: ShippedQuantity
    backordered_qty: BackorderedQuantity
    reorder_point: ReorderPoint
    batches: Annotated[list[BatchState], Field(description="In the order in which they are allocated from.")]


class Queries:
    """Answers questions from the database. Any of them raises what the database raises where it is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        # Each question is one statement, so a transaction around it would only add two round trips.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._orders = GroupedLookup(self._fetch_orders)

    async def batch(self, ref: str) -> BatchState:
        """A batch. Raises BatchNotFoundError."""
        rows = await self._fetch(_BATCH, {"ref": ref})
        if not rows:
            raise BatchNotFoundError(ref)
        return _batch_state(rows[0].sku, rows[0])

    async def allocations(self, order_id: str) -> list[AllocationState]:
        """The lines of an order, by SKU. Raises OrderNotFoundError where it has none."""
        lines = await self._orders.get(order_id)
        if lines is None:
            raise OrderNotFoundError(order_id)
        return lines

    async def order(self, order_id: str) -> OrderState:
        """An order as a whole. Raises OrderNotFoundError where it has no line."""
        return OrderState.of(order_id, await self.allocations(order_id))

    async def product(self, sku: str) -> ProductState:
        """A product and all its batches. Raises ProductNotFoundError."""
        rows = await self._fetch(_PRODUCT, {"sku": sku})
        if not rows:
            raise ProductNotFoundError(sku)
        batches = [_batch_state(sku, row) for row in rows]
        return ProductState(
            sku=sku,
            available_qty=sum(batch.available_qty for batch in batches),
            allocated_qty=sum(batch.allocated_qty for batch in batches),
            shipped_qty=sum(batch.shipped_qty for batch in batches),
            backordered_qty=rows[0].backordered_qty,
            reorder_point=rows[0].reorder_point,
            batches=batches,
        )

    async def _fetch_orders(self, order_ids: Sequence[str]) -> dict[str, list[AllocationState]]:
        lines: dict[str, list[AllocationState]] = {}
        for row in await self._fetch(_ALLOCATIONS, {"order_ids": list(set(order_ids))}):
            lines.setdefault(row.order_id, []).append(_allocation_state(row))
        return lines

    async def _fetch(self, statement: TextClause, parameters: Mapping[str, Any]) -> Sequence[Row[Any]]:
        async with self._engine.connect() as connection:
            return (await connection.execute(statement, parameters)).all()


def _batch_state(sku: str, row: Row[Any]) -> BatchState:
    return BatchState(
        ref=row.ref,
        sku=sku,
        qty=row.qty,
        eta=row.eta,
        allocated_qty=row.allocated_qty,
        shipped_qty=row.shipped_qty,
        available_qty=row.qty - row.allocated_qty - row.shipped_qty,
    )


def _allocation_state(row: Row[Any]) -> AllocationState:
    return AllocationState(
        order_id=row.order_id,
        sku=row.sku,
        qty=row.qty,
        status=status_of(is_allocated=row.ref is not None, is_shipped=row.shipped is not None),
        batch_ref=row.ref,
        eta=row.eta,
    )
