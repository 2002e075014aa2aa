"""The queries of the service: single objects by key, and the entry to lists, histories and dry runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field
from sqlalchemy import text

from app.adapters.postgresql.calendar import UTC_CALENDAR, Calendar
from app.adapters.postgresql.cells import Cells
from app.adapters.postgresql.snapshot import Snapshots
from app.adapters.postgresql.usable import expired
from app.domain.errors import BatchNotFoundError, OrderNotFoundError, ProductNotFoundError
from app.integration.fields import (
    AllocatedQuantity,
    AvailableQuantity,
    BackorderedQuantity,
    HeldQuantity,
    OnHandQuantity,
    ReorderPoint,
    ShippedQuantity,
    Sku,
)
from app.read_model.activity import Activities, Activity
from app.read_model.availability import Availability, Question, availability_of
from app.read_model.carts import Carts
from app.read_model.dry_runs import DryRuns
from app.read_model.history import History
from app.read_model.lists import Lists
from app.read_model.lookup import GroupedLookup
from app.read_model.merging import merged
from app.read_model.overview import Overview, overview
from app.read_model.reader import Reader, allocation_state, batch_state
from app.read_model.search import Found, search
from app.service_layer.entity_tags import product_tag
from app.service_layer.lock_sets import LockSet
from app.service_layer.ports import UnitOfWork
from app.service_layer.results import AllocationState, BatchState, OrderState, ProductSequence

_BATCHES = text(f"""
    SELECT b.ref, b.sku, b.qty, b.eta, b.allocated_qty, b.shipped_qty, b.held_qty,
           b.location, b.best_before, b.blocked, {expired("b")}
    FROM unnest(CAST(:refs AS text[])) AS named(ref)
    CROSS JOIN LATERAL (SELECT * FROM batches WHERE batches.ref = named.ref LIMIT 1) AS b
""")  # noqa: S608 - constants

# A plain join would read all batches while PostgreSQL has no statistics of the table.
_ALLOCATIONS = text("""
    SELECT l.*, b.ref, b.eta
    FROM unnest(CAST(:order_ids AS text[])) AS named(order_id)
    CROSS JOIN LATERAL (SELECT * FROM order_lines o WHERE o.order_id = named.order_id OFFSET 0) AS l
    LEFT JOIN LATERAL (
        SELECT ref, eta FROM batches WHERE batches.sku = l.sku AND batches.number = l.batch_number LIMIT 1
    ) AS b ON true
    ORDER BY l.order_id, l.sku, l.line
""")

_PRODUCT = text(f"""
    SELECT p.sku, p.sequence, p.backordered_qty, p.reorder_point, b.ref, b.qty, b.eta, b.allocated_qty,
           b.shipped_qty, b.held_qty, b.location, b.best_before, b.blocked, {expired("b")}
    FROM products p JOIN batches b ON b.sku = p.sku
    WHERE p.sku = :sku ORDER BY b.eta NULLS FIRST, b.best_before, b.number
""")  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class ProductState:
    """The current state of a product: its quantities, and its batches in order of preference."""

    sku: Sku
    available_qty: AvailableQuantity
    allocated_qty: AllocatedQuantity
    shipped_qty: ShippedQuantity
    on_hand_qty: OnHandQuantity
    backordered_qty: BackorderedQuantity
    reorder_point: ReorderPoint
    held_qty: HeldQuantity
    batches: Annotated[list[BatchState], Field(description="The batches, in order of preference.")]
    sequence: ProductSequence = field(default=0, compare=False)

    @property
    def tag(self) -> str:
        """See `product_tag`."""
        return product_tag(self.sku, self.sequence, self.reorder_point, self.available_qty, self.backordered_qty)


class Queries:
    """Reads the database. Every method raises DatabaseUnavailableError while the database is away.

    A product, a batch, a cart and the history of a product are in one cell, and each is of one moment. The lines of an
    order, lists, search, overview and activity are read from each cell at its own moment.

    `cells` may be those of a replica. Dry runs read from the `primary`, as commands do.
    """

    def __init__(self, cells: Cells, primary: Cells | None = None, calendar: Calendar = UTC_CALENDAR) -> None:
        self._reader = Reader(cells)
        self._orders = GroupedLookup(self._fetch_orders)
        self._batches = GroupedLookup(self._fetch_batches)
        # Callers that ask at the same time share one result, and one connection of the pool.
        self._overviews = GroupedLookup(self._fetch_overview, concurrency=1)
        self._activity = Activities(self._reader)
        self._activities = GroupedLookup(self._fetch_activity, concurrency=1)
        self.carts = Carts(self._reader)
        self.history = History(self._reader)
        self.lists = Lists(self._reader)
        self.dry_runs = DryRuns(Snapshots(primary or cells, calendar))
        self._snapshots = Snapshots(cells, calendar)

    async def batch(self, ref: str) -> BatchState:
        """A batch. Raises BatchNotFoundError."""
        batch = await self._batches.get(ref)
        if batch is None:
            raise BatchNotFoundError(ref)
        return batch

    async def overview(self) -> Overview:
        """Counts of what needs action."""
        found = await self._overviews.get("")
        assert found is not None  # noqa: S101 - the fetch returns a value for every key
        return found

    async def activity(self) -> Activity:
        """What was decided today."""
        found = await self._activities.get("")
        assert found is not None  # noqa: S101 - the fetch returns a value for every key
        return found

    async def search(self, prefix: str) -> Found:
        """Orders, products and batches whose name begins with the prefix."""
        return await search(self._reader, prefix)

    async def allocations(self, order_id: str) -> list[AllocationState]:
        """The lines of an order, by SKU and name. Raises OrderNotFoundError where it has none."""
        lines = await self._orders.get(order_id)
        if lines is None:
            raise OrderNotFoundError(order_id)
        return lines

    async def order(self, order_id: str) -> OrderState:
        """An order as a whole. Raises OrderNotFoundError where it has no line."""
        return OrderState.of(order_id, await self.allocations(order_id))

    async def product(self, sku: str) -> ProductState:
        """A product and all its batches. Raises ProductNotFoundError."""
        rows = await self._reader.fetch(_PRODUCT, {"sku": sku}, of=sku)
        if not rows:
            raise ProductNotFoundError(sku)
        batches = [batch_state(row) for row in rows]
        return ProductState(
            sku=sku,
            available_qty=sum(batch.available_qty for batch in batches),
            allocated_qty=sum(batch.allocated_qty for batch in batches),
            shipped_qty=sum(batch.shipped_qty for batch in batches),
            on_hand_qty=sum(batch.qty - batch.shipped_qty for batch in batches if batch.eta is None),
            backordered_qty=rows[0].backordered_qty,
            reorder_point=rows[0].reorder_point,
            held_qty=sum(batch.held_qty for batch in batches),
            batches=batches,
            sequence=rows[0].sequence,
        )

    async def availability(self, question: Question) -> Availability:
        """Whether one batch holds the quantity by the day, or at all, for the order. Raises ProductNotFoundError."""

        async def decide(uow: UnitOfWork) -> Availability:
            return availability_of(question, uow)

        lines = {(question.key, question.sku)} if question.key is not None else set()
        return await self._snapshots.run(LockSet(skus={question.sku}, lines=lines), decide)

    async def _fetch_overview(self, keys: Sequence[str]) -> dict[str, Overview]:
        return dict.fromkeys(keys, await overview(self._reader))

    async def _fetch_activity(self, keys: Sequence[str]) -> dict[str, Activity]:
        return dict.fromkeys(keys, await self._activity.read())

    async def _fetch_orders(self, order_ids: Sequence[str]) -> dict[str, list[AllocationState]]:
        lines: dict[str, list[AllocationState]] = {}
        parts = await self._reader.fetch_each(_ALLOCATIONS, {"order_ids": list(set(order_ids))})
        for row in merged(parts, lambda row: (row.order_id, row.sku, row.line)):
            lines.setdefault(row.order_id, []).append(allocation_state(row))
        return lines

    async def _fetch_batches(self, refs: Sequence[str]) -> dict[str, BatchState]:
        cells = await self._reader.cells_of_batches(list(set(refs)))
        parts = await self._reader.fetch_cells(_BATCHES, {cell: {"refs": each} for cell, each in cells.items()})
        return {row.ref: batch_state(row) for part in parts for row in part}
