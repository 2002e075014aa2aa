"""What the store in memory keeps."""

from dataclasses import dataclass, field
from datetime import date, datetime

from app.domain.carts import Cart
from app.domain.choice import ANY_BATCH, MAIN_LOCATION, Requirements
from app.domain.orders import PlacedOrder
from app.domain.stock import PLAIN_TERMS, BatchTerms
from app.integration.dead_letters import DeadLetter
from app.integration.outbound import OutboundMessage
from app.service_layer.idempotency import StoredAnswer
from app.service_layer.ports import Cause, Receipt


@dataclass
class ProductRow:
    sequence: int = 0
    backordered_qty: int = 0
    reorder_point: int | None = None
    held_qty: int = 0
    earliest_hold_end: datetime | None = None
    hold_clock: datetime | None = None
    next_expiry: date | None = None


@dataclass
class BatchRow:
    sku: str
    number: int
    qty: int
    eta: date | None
    first_qty: int
    first_eta: date | None
    allocated_qty: int
    allocated_lines: int
    shipped_qty: int
    held_qty: int
    location: str = MAIN_LOCATION
    best_before: date | None = None
    is_blocked: bool = False
    first_terms: BatchTerms = PLAIN_TERMS


@dataclass
class LineRow:
    qty: int
    requested: int
    batch_ref: str | None
    allocated: int | None
    shipped: int | None
    held_until: datetime | None
    requirements: Requirements = ANY_BATCH


@dataclass
class Tables:
    products: dict[str, ProductRow] = field(default_factory=dict)
    batches: dict[str, BatchRow] = field(default_factory=dict)
    lines: dict[tuple[str, str], LineRow] = field(default_factory=dict)
    orders: dict[str, PlacedOrder] = field(default_factory=dict)
    carts: dict[str, Cart] = field(default_factory=dict)
    answers: dict[tuple[str, str], tuple[bytes, StoredAnswer]] = field(default_factory=dict)
    outbox: list[tuple[OutboundMessage, Cause]] = field(default_factory=list)
    inbox: dict[tuple[str, str], Receipt] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
