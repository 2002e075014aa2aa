"""The JSON of response bodies: one TypeAdapter for each type of result."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Self

from fastapi import Response
from pydantic import Field, TypeAdapter

from app.integration.fields import OnHandQuantity
from app.read_model.activity import Activity
from app.read_model.availability import Availability
from app.read_model.dry_runs import AllocationPreview, OrderPreview
from app.read_model.history import HistoryPage
from app.read_model.lists import AllocationPage, BackorderPage, BatchPage, ProductPage
from app.read_model.overview import Overview
from app.read_model.queries import ProductState
from app.read_model.search import Found
from app.service_layer.cart_results import CartState, CheckedOutOrder
from app.service_layer.results import (
    AllocationState,
    BatchChanged,
    BatchState,
    BatchTransferred,
    LineMove,
    OrderState,
    ProductCounted,
    StockRedistributed,
    StockState,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedBatch(BatchState):
    """A batch after a change, and the lines that were moved off it."""

    moved: Annotated[list[LineMove], Field(description="The lines that were moved off it, oldest request first.")]

    @classmethod
    def after(cls, changed: BatchChanged) -> Self:
        """The outcome of a change as a flat object."""
        return cls(**_values_of(changed.batch), moved=changed.moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedProduct(StockState):
    """A product after a count, and the lines that were moved off their batches."""

    on_hand_qty: OnHandQuantity
    moved: Annotated[
        list[LineMove], Field(description="The lines that were moved off their batches, oldest request first.")
    ]

    @classmethod
    def after(cls, counted: ProductCounted) -> Self:
        """The outcome of a count as a flat object."""
        return cls(**_values_of(counted.stock), on_hand_qty=counted.on_hand_qty, moved=counted.moved)


def _values_of(state: BatchState | StockState) -> dict[str, Any]:
    """The fields of the state, to make a state with more of them."""
    return {field.name: getattr(state, field.name) for field in fields(state)}


BATCH = TypeAdapter(BatchState)
CHANGED_BATCH = TypeAdapter(ChangedBatch)
REDISTRIBUTED = TypeAdapter(StockRedistributed)
TRANSFER = TypeAdapter(BatchTransferred)
ALLOCATION = TypeAdapter(AllocationState)
ALLOCATION_PAGE = TypeAdapter(AllocationPage)
ALLOCATIONS = TypeAdapter(list[AllocationState])
ORDER = TypeAdapter(OrderState)
CART = TypeAdapter(CartState)
CHECKED_OUT_ORDER = TypeAdapter(CheckedOutOrder)
ORDER_PREVIEW = TypeAdapter(OrderPreview)
PRODUCT = TypeAdapter(ProductState)
STOCK = TypeAdapter(StockState)
COUNTED_PRODUCT = TypeAdapter(CountedProduct)
PREVIEW = TypeAdapter(AllocationPreview)
AVAILABILITY = TypeAdapter(Availability)
HISTORY_PAGE = TypeAdapter(HistoryPage)
PRODUCT_PAGE = TypeAdapter(ProductPage)
BATCH_PAGE = TypeAdapter(BatchPage)
FOUND = TypeAdapter(Found)
ACTIVITY = TypeAdapter(Activity)
OVERVIEW = TypeAdapter(Overview)
BACKORDER_PAGE = TypeAdapter(BackorderPage)


class Answer(Response):
    """A response whose body is already encoded as JSON."""

    media_type: str | None = "application/json"

    def __init__(self, body: bytes, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Without headers, set at once what `Response` would compute."""
        if headers or self.media_type != "application/json":
            super().__init__(body, status_code, headers)
        else:
            self.body, self.status_code, self.background = body, status_code, None
            self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
