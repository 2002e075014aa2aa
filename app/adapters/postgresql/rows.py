"""Rows of the tables, as the unit of work reads and writes them. The fields have the names of the columns.

Rows are made for each command, so `of` uses `tuple.__new__`: it takes half the time of the generated constructor.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from app.domain.carts import Cart, CartItem, CartStatus
from app.domain.choice import ANY_BATCH, DEFAULT_PRIORITY, MAIN_LOCATION, Requirements, queue_rank
from app.domain.product import Product
from app.domain.stock import PLAIN_TERMS, Allocation, Batch, BatchTerms, OrderLine, line_key


class ProductRow(NamedTuple):
    """A row of `products`."""

    sku: str
    sequence: int
    backordered_qty: int
    reorder_point: int | None
    held_qty: int
    earliest_hold_end: datetime | None
    hold_clock: datetime | None
    next_expiry: date | None

    @classmethod
    def of(cls, product: Product) -> "ProductRow":
        """The row that stores the product."""
        values = (
            product.sku,
            product.sequence,
            product.backordered_qty,
            product.reorder_point,
            product.held_qty,
            product.earliest_hold_end,
            product.hold_clock,
            product.next_expiry,
        )
        return tuple.__new__(cls, values)


class BatchRow(NamedTuple):
    """A row of `batches`. `location` is null for the main one, `first_terms` is JSON, or null for plain terms."""

    sku: str
    number: int
    ref: str
    first_qty: int
    first_eta: date | None
    qty: int
    eta: date | None
    allocated_qty: int
    allocated_lines: int
    shipped_qty: int
    held_qty: int
    location: str | None
    best_before: date | None
    blocked: bool
    first_terms: str | None

    @classmethod
    def of(cls, sku: str, batch: Batch) -> "BatchRow":
        """The row that stores the batch."""
        values = (
            sku,
            batch.number,
            batch.ref,
            batch.first_qty,
            batch.first_eta,
            batch.qty,
            batch.eta,
            batch.allocated_qty,
            batch.allocated_lines,
            batch.shipped_qty,
            batch.held_qty,
            None if batch.location == MAIN_LOCATION else batch.location,
            batch.best_before,
            batch.is_blocked,
            None if batch.first_terms is PLAIN_TERMS else _written(batch.first_terms),
        )
        return tuple.__new__(cls, values)

    def to_batch(self) -> Batch:
        """The batch that the row stores."""
        return Batch(
            self.number,
            self.ref,
            self.qty,
            self.eta,
            self.first_qty,
            self.first_eta,
            self.allocated_qty,
            self.allocated_lines,
            self.shipped_qty,
            self.held_qty,
            self.location or MAIN_LOCATION,
            self.best_before,
            self.blocked,
            PLAIN_TERMS if self.first_terms is None else _read(self.first_terms),
        )


def _written(terms: BatchTerms) -> str | None:
    if terms == PLAIN_TERMS:
        return None
    day = terms.best_before.isoformat() if terms.best_before else None
    return json.dumps({"location": terms.location, "best_before": day, "blocked": terms.is_blocked})


def _read(terms: str) -> BatchTerms:
    values = json.loads(terms)
    day = date.fromisoformat(values["best_before"]) if values["best_before"] else None
    return BatchTerms(values["location"], day, values["blocked"])


BATCH_WIDTH = len(BatchRow._fields)
"""The columns of a batch in a row that has those of a line behind them."""


class LineRow(NamedTuple):
    """A row of `order_lines`. The locations are separated by spaces; `queue_rank` is null for the default."""

    order_id: str
    sku: str
    qty: int
    requested: int
    batch_number: int | None
    allocated: int | None
    shipped: int | None
    held_until: datetime | None
    locations: str | None
    good_until: date | None
    queue_rank: int | None
    line: str

    @classmethod
    def of(cls, allocation: Allocation) -> "LineRow":
        """The row that stores the line."""
        line, batch = allocation.line, allocation.batch
        values = (
            line.order_id,
            line.sku,
            line.qty,
            allocation.requested_sequence,
            batch.number if batch else None,
            allocation.allocated_sequence,
            allocation.shipped_sequence,
            allocation.held_until,
            " ".join(line.requirements.locations) or None,
            line.requirements.good_until,
            None if line.requirements.priority == DEFAULT_PRIORITY else queue_rank(line.requirements.priority),
            line.name,
        )
        return tuple.__new__(cls, values)

    @property
    def key(self) -> str:
        """See `line_key`."""
        return line_key(self.order_id, self.line)

    def to_allocation(self, batch: Batch | None) -> Allocation:
        """The line that the row stores, on this batch."""
        requirements = ANY_BATCH
        if self.locations is not None or self.good_until is not None or self.queue_rank is not None:
            priority = DEFAULT_PRIORITY if self.queue_rank is None else queue_rank(self.queue_rank)
            requirements = Requirements(tuple((self.locations or "").split()), self.good_until, priority)
        line = OrderLine(self.order_id, self.sku, self.qty, requirements, self.line)
        return Allocation(line, self.requested, batch, self.allocated, self.shipped, self.held_until)


def first_pieces(lines: Iterable[Mapping[str, Any]], qty: int) -> Iterator[Mapping[str, Any]]:
    """The first rows of lines that make up `qty` pieces."""
    for line in lines:
        if qty <= 0:
            return
        yield line
        qty -= line["qty"]


class LineKey(NamedTuple):
    """The primary key of a line."""

    order_id: str
    sku: str
    line: str


class ProductKey(NamedTuple):
    """The primary key of a product."""

    sku: str


class OrderKey(NamedTuple):
    """The primary key of an order."""

    order_id: str


class OrderRow(NamedTuple):
    """A row of `orders`; `lines` is JSON."""

    order_id: str
    lines: str


class CartRow(NamedTuple):
    """A row of `carts`."""

    cart_id: str
    currency: str
    version: int
    status: CartStatus
    order_id: str | None

    @classmethod
    def of(cls, cart: Cart) -> "CartRow":
        """The row that stores the cart."""
        return cls(cart.cart_id, cart.currency, cart.version, cart.status, cart.order_id)

    def to_cart(self, items: "Iterable[CartItemRow]") -> Cart:
        """The cart that the row stores, with these items."""
        found = (CartItem(item.sku, item.qty, item.unit_price) for item in items)
        return Cart(
            self.cart_id, self.currency, found, version=self.version, status=self.status, order_id=self.order_id
        )


class CartItemRow(NamedTuple):
    """A row of `cart_items`."""

    cart_id: str
    sku: str
    qty: int
    unit_price: int

    @classmethod
    def of(cls, cart_id: str, item: CartItem) -> "CartItemRow":
        """The row that stores the item."""
        return cls(cart_id, item.sku, item.qty, item.unit_price)


class CartItemKey(NamedTuple):
    """The primary key of an item."""

    cart_id: str
    sku: str


class AnswerRow(NamedTuple):
    """A row of `idempotency_keys`; `headers` is JSON."""

    principal: str
    key: str
    fingerprint: bytes
    status: int
    headers: str
    body: bytes


class EventKey(NamedTuple):
    """The id and the shard of an event: a row of `outbox`."""

    id: int
    shard: int


class EventRow(NamedTuple):
    """A row of `events`; `data` is JSON.

    `place` counts the events of the subject without a sequence from 1 on, within the statement that inserts them; the
    statement adds the last place that is stored.
    """

    id: int
    shard: int
    subject: str
    sequence: int | None
    type: str
    data: str
    correlation_id: str
    causation_id: str
    traceparent: str | None
    principal: str | None
    place: int | None


class CommitRow(NamedTuple):
    """A row of `commit_tokens`."""

    connection: UUID
    token: UUID
