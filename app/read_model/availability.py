"""Whether a quantity of a product is available, and from when.

`Batches.best` decides on a snapshot, so the rule is that of an allocation. Nothing is reserved.
"""

from dataclasses import dataclass
from datetime import date
from typing import Annotated

from pydantic import Field

from app.domain.choice import ANY_BATCH, Requirements
from app.domain.errors import ProductNotFoundError
from app.integration.fields import Eta, LineQuantity, Sku
from app.service_layer.ports import UnitOfWork


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
class Question:
    """A quantity of a product that a caller wants by a day, with what it requires of the batch.

    The pieces that are held for the line `key` of an order are available to it.
    """

    sku: str
    qty: int
    by: date | None = None
    key: str | None = None
    requirements: Requirements = ANY_BATCH


def availability_of(question: Question, uow: UnitOfWork) -> Availability:
    """Whether one batch holds the quantity by the day, or at all. Raises ProductNotFoundError."""
    sku, qty, by = question.sku, question.qty, question.by
    product = uow.products.get(sku)
    if product is None:
        raise ProductNotFoundError(sku)
    own = product.allocations.get(question.key) if question.key is not None else None
    if own is not None and own.is_held and own.batch is not None:
        own.batch.release(own.line, is_held=True)
    best = product.batches.best(qty, question.requirements)
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
