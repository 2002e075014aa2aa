"""What could be promised: which batch would serve a line, and when so many pieces can be had.

It is decided by the aggregate itself, on a copy of it as it stands in one snapshot. The copy is thrown away, so nothing
is locked, kept or told. The answer is a look and no reservation: whoever comes first gets the stock.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, cast

from pydantic import Field
from sqlalchemy import Row, text

from app.domain.commands import Allocate, PlaceOrder
from app.domain.errors import ProductNotFoundError
from app.domain.orders import PlacedOrder
from app.domain.product import Product
from app.domain.stock import Allocation, Batch, OrderLine
from app.integration.fields import Eta, LineQuantity, OrderId, Sku
from app.read_model.reader import Reader
from app.service_layer.handlers import allocate
from app.service_layer.order_handlers import place_order
from app.service_layer.ports import UnitOfWork
from app.service_layer.results import AllocationState, Complete, EarliestEta

# The products with their open batches, and the named lines with theirs: what the unit of work locks and reads.
_PRODUCTS_AND_LINES = text("""
    SELECT p.sku, p.sequence, p.backordered_qty, b.number, b.ref, b.first_qty, b.first_eta,
           b.qty, b.eta, b.allocated_qty, b.allocated_lines, b.shipped_qty,
           NULL::text AS order_id, NULL::int AS line_qty,
           NULL::bigint AS requested, NULL::bigint AS allocated, NULL::bigint AS shipped
    FROM unnest(CAST(:skus AS text[])) AS named(sku)
    CROSS JOIN LATERAL (SELECT * FROM products WHERE products.sku = named.sku LIMIT 1) AS p
    LEFT JOIN LATERAL (SELECT * FROM batches WHERE batches.sku = p.sku AND has_stock OFFSET 0) AS b ON true
    UNION ALL
    SELECT l.sku, NULL, NULL, b.number, b.ref, b.first_qty, b.first_eta,
           b.qty, b.eta, b.allocated_qty, b.allocated_lines, b.shipped_qty,
           l.order_id, l.qty, l.requested, l.allocated, l.shipped
    FROM unnest(CAST(:order_ids AS text[]), CAST(:line_skus AS text[])) AS named(order_id, sku)
    CROSS JOIN LATERAL (
        SELECT * FROM order_lines o WHERE o.order_id = named.order_id AND o.sku = named.sku LIMIT 1
    ) AS l
    LEFT JOIN LATERAL (
        SELECT * FROM batches WHERE batches.sku = l.sku AND batches.number = l.batch_number LIMIT 1
    ) AS b ON true
""")

# What was placed under the id of an order, and the SKUs of the lines that it has.
_ORDER = text("""
    SELECT o.lines, l.sku FROM (SELECT CAST(:order_id AS text) AS order_id) AS named
    LEFT JOIN LATERAL (SELECT lines FROM orders WHERE orders.order_id = named.order_id LIMIT 1) AS o ON true
    LEFT JOIN LATERAL (SELECT sku FROM order_lines WHERE order_lines.order_id = named.order_id OFFSET 0) AS l ON true
""")

ReasonCode = Literal["in_warehouse", "earliest_arrival", "out_of_stock", "already_accepted"]

EXPLANATIONS: dict[ReasonCode, str] = {
    "in_warehouse": "The batch is in the warehouse and can hold the whole line.",
    "earliest_arrival": "No batch in the warehouse can hold the whole line; of the others, this one arrives first.",
    "out_of_stock": "No batch can hold the whole line, so it would be backordered.",
    "already_accepted": "The line was accepted before; this is its current state.",
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A batch and the day it arrives."""

    batch_ref: Annotated[str, Field(description="The ref of the batch.", examples=["batch-1"])]
    eta: Eta


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether one batch can hold a quantity by a day."""

    sku: Sku
    qty: LineQuantity
    by: Annotated[date | None, Field(description="The requested day; null for any day.", examples=["2030-01-01"])]
    available: Annotated[bool, Field(description="Whether a batch can hold the quantity by then.", examples=[True])]
    batch_ref: Annotated[
        str | None, Field(description="The batch that would hold it; null if there is none.", examples=["batch-1"])
    ]
    eta: Annotated[
        date | None,
        Field(description="Its ETA; null if it is in the warehouse or there is no batch.", examples=["2030-01-01"]),
    ]
    earliest: Annotated[
        Arrival | None,
        Field(
            description="The first batch that can hold the quantity on any day; null if there is none yet.",
            examples=[{"batch_ref": "batch-1", "eta": "2030-01-01"}],
        ),
    ]


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


class Promises:
    """Answers what would become of lines, without anything becoming of them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def availability(self, sku: str, qty: int, by: date | None) -> Availability:
        """Whether so many pieces can be had by a day, or at all. Raises ProductNotFoundError."""
        product = (await self.products([sku])).get(sku)
        if product is None:
            raise ProductNotFoundError(sku)
        best = product.batches.best(qty)
        in_time = best if best is not None and (by is None or best.is_here_by(by)) else None
        return Availability(
            sku=sku,
            qty=qty,
            by=by,
            available=in_time is not None,
            batch_ref=in_time.ref if in_time else None,
            eta=in_time.eta if in_time else None,
            earliest=Arrival(best.ref, best.eta) if best else None,
        )

    async def preview(self, command: Allocate) -> AllocationPreview:
        """What the command would answer now. Raises what it would raise. It is the use case itself that runs."""
        products = await self.products([command.sku], [(command.order_id, command.sku)])
        accepted = await allocate(command, cast("UnitOfWork", _Look(products)))
        return _explained(accepted.allocation, accepted=not accepted.created)

    async def preview_order(self, command: PlaceOrder) -> OrderPreview:
        """What the command would answer now. Raises what it would raise.

        It is the use case itself that runs, in a unit of work that is never committed.
        """
        order_id = command.order_id
        rows = await self._reader.fetch(_ORDER, {"order_id": order_id})
        skus = sorted({line.sku for line in command.lines} | {row.sku for row in rows if row.sku is not None})
        products = await self.products(skus, [(order_id, sku) for sku in skus])
        placed = None
        if rows and rows[0].lines is not None:
            placed = PlacedOrder.of_rows(order_id, json.loads(rows[0].lines))
        look = _Look(products, placed, skus)
        accepted = await place_order(command, cast("UnitOfWork", look))
        lines = [_explained(line, accepted=not accepted.created) for line in accepted.order.lines]
        return OrderPreview(order_id, lines, accepted.order.complete, accepted.order.earliest_eta)

    async def products(self, skus: Sequence[str], lines: Sequence[tuple[str, str]] = ()) -> dict[str, Product]:
        """Copies of the products as they stand in one snapshot, with these lines (order id, SKU) where they are known.

        Like the unit of work, it leaves out a SKU of which no batch was ever recorded.
        """
        parameters = {
            "skus": sorted(set(skus)),
            "order_ids": [order_id for order_id, _ in lines],
            "line_skus": [sku for _, sku in lines],
        }
        products: dict[str, Product] = {}
        rows = await self._reader.fetch(_PRODUCTS_AND_LINES, parameters)
        for row in sorted(rows, key=lambda row: row.order_id is not None):
            if row.order_id is None:
                product = products.setdefault(row.sku, Product(row.sku, row.sequence, row.backordered_qty))
            else:
                product = products[row.sku]
            batch = None if row.number is None else product.attach_batch(_batch(row))
            if row.order_id is not None:
                line = OrderLine(row.order_id, row.sku, row.line_qty)
                product.attach_allocation(Allocation(line, row.requested, batch, row.allocated, row.shipped))
        return products


class _Look:
    """As much of a unit of work as placing a line or an order needs, over copies; what it is told it forgets."""

    def __init__(
        self, products: Mapping[str, Product], placed: PlacedOrder | None = None, skus: Sequence[str] = ()
    ) -> None:
        self.products = self.orders = self
        self.get = products.get
        self._placed = placed
        self._skus = skus

    def placed(self, _: str) -> PlacedOrder | None:
        return self._placed

    def skus(self, _: str) -> Sequence[str]:
        return self._skus

    def place(self, order: object) -> None:
        pass

    def raise_event(self, event: object) -> None:
        pass


def _explained(state: AllocationState, *, accepted: bool) -> AllocationPreview:
    reason = "already_accepted" if accepted else _reason(state)
    return AllocationPreview(
        order_id=state.order_id,
        sku=state.sku,
        qty=state.qty,
        status=state.status,
        batch_ref=state.batch_ref,
        eta=state.eta,
        reason=reason,
        explanation=EXPLANATIONS[reason],
    )


def _reason(state: AllocationState) -> ReasonCode:
    if state.batch_ref is None:
        return "out_of_stock"
    return "in_warehouse" if state.eta is None else "earliest_arrival"


def _batch(row: Row[Any]) -> Batch:
    return Batch(
        number=row.number,
        ref=row.ref,
        qty=row.qty,
        eta=row.eta,
        first_qty=row.first_qty,
        first_eta=row.first_eta,
        allocated_qty=row.allocated_qty,
        allocated_lines=row.allocated_lines,
        shipped_qty=row.shipped_qty,
    )
