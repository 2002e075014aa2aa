"""Domain events, named in the past tense. The aggregate raises them; they are immutable.

`sequence` counts the events of the SKU. It is None where there is no product: in the events of an order as a whole, and
of a SKU that does not exist.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from app.domain.carts import CartItem
from app.domain.choice import MAIN_LOCATION
from app.domain.stock import OrderLine

ReleaseReason = Literal[
    "cancelled",
    "batch_quantity_changed",
    "batch_eta_changed",
    "batch_blocked",
    "batch_transferred",
    "redistributed",
]
"""Why a line left its batch."""

HoldReleaseReason = Literal[
    "expired",
    "cancelled",
    "replaced",
    "batch_quantity_changed",
    "batch_blocked",
    "batch_transferred",
    "redistributed",
]
"""Why a hold ended without a confirmation; `replaced`: by a hold of another quantity, or of other lines."""

RefusalReason = Literal["out_of_stock", "invalid_sku", "conflict"]
"""Why a line or an order was not accepted."""

StockReason = Literal["damaged", "lost", "found", "recount", "customs", "correction", "returned"]
"""Why the quantity of a batch was corrected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(ABC):
    """A domain event."""

    sequence: int | None = None

    @property
    @abstractmethod
    def subject(self) -> str:
        """The SKU or order that the event is about. Events of one subject are published in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductEvent(Event):
    """An event of the product `sku`."""

    sku: str

    @property
    def subject(self) -> str:
        """The SKU."""
        return self.sku


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEvent(Event):
    """An event of an order as a whole. The products of its lines raise the events of the lines."""

    order_id: str

    @property
    def subject(self) -> str:
        """The order's id."""
        return self.order_id


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEvent(ProductEvent):
    """An event of a batch of `qty` pieces. It is in the warehouse if `eta` is None."""

    ref: str
    qty: int
    eta: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTermsEvent(BatchEvent):
    """An event with the terms of the batch. See `BatchTerms`."""

    location: str = MAIN_LOCATION
    best_before: date | None = None
    blocked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCreated(BatchTermsEvent):
    """A batch was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTermsChanged(BatchTermsEvent):
    """The terms of a batch have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchQuantityChanged(BatchEvent):
    """The purchased quantity of a batch is now `qty`; `reason` and `reference` are what the caller gave for it."""

    reason: StockReason | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEtaChanged(BatchEvent):
    """A batch is now expected at `eta`, or has arrived.

    `order_count` firm lines are allocated to it and not shipped; `order_ids` are the orders of the first of them.
    """

    order_ids: tuple[str, ...] = ()
    order_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LineEvent(ProductEvent):
    """An event of a line of `qty` pieces. `line` is its name among those of the order and SKU; empty: it has none."""

    order_id: str
    line: str = ""
    qty: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineAllocated(LineEvent):
    """A batch will serve the order line."""

    batch_ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineHeld(LineEvent):
    """The order line is held on `batch_ref` until `held_until`. Each change of either raises the event again."""

    batch_ref: str
    held_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReleased(LineEvent):
    """An order line is not held any more, and was not confirmed."""

    batch_ref: str
    reason: HoldReleaseReason


@dataclass(frozen=True, slots=True, kw_only=True)
class LineDeallocated(LineEvent):
    """The order line left its batch, or with `batch_ref` None the queue.

    With `new_qty` its quantity was changed: the next event of the line places it anew, with that quantity.
    """

    batch_ref: str | None
    reason: ReleaseReason
    new_qty: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineShipped(LineEvent):
    """An allocated order line left the warehouse."""

    batch_ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineBackordered(LineEvent):
    """An accepted order line waits in the queue of its SKU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationFailed(LineEvent):
    """A request for an order line was refused, for this reason, and has changed nothing."""

    reason: RefusalReason


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfStock(LineEvent):
    """An order line found no batch that could hold it whole; a hold raises no such event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPlaced(OrderEvent):
    """An order of these lines was accepted; each is allocated, or waits in the queue of its SKU."""

    lines: tuple[OrderLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCancelled(OrderEvent):
    """These lines of the order were cancelled, all that had not been shipped."""

    lines: tuple[OrderLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRefused(OrderEvent):
    """The order was refused and nothing of it is kept; `lines` are those that were the reason."""

    lines: tuple[OrderLine, ...]
    reason: RefusalReason


@dataclass(frozen=True, slots=True, kw_only=True)
class CartCheckedOut(OrderEvent):
    """A cart was checked out, with these items at these prices. Its order is held until `held_until`; None: firm."""

    cart_id: str
    currency: str
    total: int
    items: tuple[CartItem, ...]
    held_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LowStock(ProductEvent):
    """Fewer pieces than `reorder_point` are available or held. It was not so before.

    `backordered_qty` pieces are backordered; `incoming_qty` of the available ones have not arrived yet.
    """

    available_qty: int
    reorder_point: int
    backordered_qty: int
    incoming_qty: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackInStock(ProductEvent):
    """The available quantity rose from 0 to `available_qty`."""

    available_qty: int
