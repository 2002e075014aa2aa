"""Lists of products, batches and backorders, in pages."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from math import inf
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import Row

from app.integration.fields import (
    AvailableQuantity,
    BackorderedQuantity,
    HeldQuantity,
    IncomingQuantity,
    ReorderPoint,
    Sku,
)
from app.read_model import list_statements
from app.read_model.merging import merged, total
from app.read_model.pagination import (
    DayKey,
    Key,
    KeysetPager,
    Page,
    PlaceKey,
    PositionKey,
    SkuAndPositionKey,
    SkuKey,
    TimeKey,
)
from app.read_model.reader import Reader, Rows, allocation_state, batch_state
from app.service_layer.results import AllocationState, BatchState

BatchOrder = Literal["sku", "eta"]
BackorderOrder = Literal["sku", "placed_at"]


@dataclass(frozen=True, slots=True)
class ProductSummary:
    """A product in a list. Its allocated and shipped quantities are not included."""

    sku: Sku
    available_qty: AvailableQuantity
    backordered_qty: BackorderedQuantity
    reorder_point: ReorderPoint
    held_qty: HeldQuantity
    incoming_qty: IncomingQuantity
    next_eta: Annotated[
        date | None,
        Field(
            description="The first ETA of a batch with available pieces; null if there is none.",
            examples=["2030-01-01"],
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSummary(BatchState):
    """A batch in a list."""

    allocated_lines: Annotated[
        int, Field(ge=0, description="Order lines that wait for this batch: allocated, not shipped.", examples=[1])
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backorder(AllocationState):
    """An order line that waits for stock, and the time it was placed."""

    placed_at: Annotated[
        datetime | None,
        Field(
            description="The time the line was placed; null if it is unknown, because the event was not kept.",
            examples=["2030-01-01T12:00:00.000000Z"],
        ),
    ]


@dataclass(frozen=True, slots=True)
class ProductPage(Page):
    """A page of products, by SKU."""

    items: list[ProductSummary]


@dataclass(frozen=True, slots=True)
class BatchPage(Page):
    """A page of batches."""

    items: list[BatchSummary]


@dataclass(frozen=True, slots=True)
class BackorderPage(Page):
    """A page of backorders."""

    items: list[Backorder]


@dataclass(frozen=True, slots=True)
class AllocationPage(Page):
    """A page of the lines of a batch."""

    items: list[AllocationState]


class Lists:
    """Reads lists. Each method raises InvalidCursorError for a cursor of another list, order or filter."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def products(
        self,
        *,
        limit: int,
        cursor: str | None,
        low_stock: bool = False,
        backordered: bool = False,
        sold_out: bool = False,
    ) -> ProductPage:
        """Products by SKU: all, or those that match each of the filters.

        The page scans the watched products, the backordered ones, or all of them for `sold_out` alone.
        """
        filtered = {"low_stock": str(low_stock), "backordered": str(backordered)}
        pager = KeysetPager("products", filtered | _given(sold_out=sold_out), SkuKey, ("",))
        (sku,) = pager.decode(cursor)
        statement = list_statements.products(low_stock=low_stock, backordered=backordered, sold_out=sold_out)
        parts = await self._reader.fetch_each(statement, {"sku": sku, "limit": limit + 1})
        found, keys = _found(parts, lambda row: (row.sku,))
        next_cursor = pager.next_cursor(keys, limit)
        return ProductPage([_product_summary(row) for row in found[:limit]], next_cursor, *_count(parts))

    async def shortages(self, *, limit: int) -> ProductPage:
        """The products to buy first. The order changes with the stock, so there is one page."""
        parts = await self._reader.fetch_each(list_statements.SHORTAGES, {"limit": limit})
        found, _ = _found(parts, _rank_of_shortage)
        shown = sorted(found[:limit], key=_place_of_shortage)
        return ProductPage([_product_summary(row) for row in shown], None, *_count(parts))

    async def lines_of(self, ref: str, *, shipped: bool = False, limit: int, cursor: str | None) -> AllocationPage:
        """The lines of a batch that are not shipped, or those that are; none for an unknown batch."""
        pager = KeysetPager("lines-of-batch", {"ref": ref} | _given(shipped=shipped), PositionKey, (0,))
        (position,) = pager.decode(cursor)
        parameters = {"ref": ref, "position": position, "limit": limit + 1}
        cells = await self._reader.cells_of_batches([ref])
        parts = await self._reader.fetch_cells(
            list_statements.lines_of(shipped=shipped), dict.fromkeys(cells, parameters)
        )
        found, keys = _found(parts, lambda row: (row.shipped if shipped else row.allocated,))
        next_cursor = pager.next_cursor(keys, limit)
        return AllocationPage([allocation_state(row) for row in found[:limit]], next_cursor, *_count(parts))

    async def batches(
        self,
        *,
        limit: int,
        cursor: str | None,
        sku: str | None = None,
        arriving_by: date | None = None,
        late: bool = False,
        unfit: bool = False,
        sort: BatchOrder = "sku",
    ) -> BatchPage:
        """Batches by SKU and number, or those on their way by ETA: all, or those that match each of the filters."""
        filtered = {"sku": sku, "arriving_by": arriving_by.isoformat() if arriving_by else None} | _given(
            late=late, unfit=unfit
        )
        statement = list_statements.batches(
            of_one_sku=sku is not None,
            arriving=arriving_by is not None,
            late=late,
            unfit=unfit,
            by_eta=sort == "eta",
        )
        parameters: dict[str, Any] = {"limit": limit + 1}
        if sku is not None:
            parameters["sku"] = sku
        if arriving_by is not None:
            parameters["arriving_by"] = arriving_by
        next_cursor: str | None
        if sort == "eta":
            by_eta = KeysetPager("batches-by-eta", filtered, DayKey, (date.min, "", 0))
            parameters["eta"], parameters["after"], parameters["position"] = by_eta.decode(cursor)
            parts = await self._reader.fetch_each(statement, parameters, of=sku)
            found, days = _found(parts, lambda row: (row.eta, row.sku, row.number))
            next_cursor = by_eta.next_cursor(days, limit)
        else:
            by_sku = _pager("batches", filtered)
            after, parameters["position"] = by_sku.decode(cursor)
            if sku is None:
                parameters["after"] = after
            parts = await self._reader.fetch_each(statement, parameters, of=sku)
            found, numbers = _found(parts, lambda row: (row.sku, row.number))
            next_cursor = by_sku.next_cursor(numbers, limit)
        return BatchPage([_batch_summary(row) for row in found[:limit]], next_cursor, *_count(parts))

    async def backorders(
        self, *, limit: int, cursor: str | None, sku: str | None = None, sort: BackorderOrder = "sku"
    ) -> BackorderPage:
        """Backorders by SKU and place in the queue, or those placed first: all, or those of one SKU."""
        by_age = sort == "placed_at"
        statement = list_statements.backorders(of_one_sku=sku is not None, by_age=by_age)
        parameters: dict[str, Any] = {"limit": limit + 1}
        next_cursor: str | None
        if by_age and sku is None:
            pager = KeysetPager("backorders-by-age", {}, TimeKey, (datetime(1970, 1, 1, tzinfo=UTC), "", 0))
            parameters["placed_at"], parameters["after"], parameters["position"] = pager.decode(cursor)
            parts = await self._reader.fetch_each(statement, parameters)
            found, times = _found(parts, lambda row: (row.placed_at, row.sku, row.requested))
            next_cursor = pager.next_cursor(times, limit)
        else:
            # In one queue the request decides on the age, and the priority comes first where it is not by age.
            by_place = KeysetPager("backorders-by-place", {"sku": sku} | _given(by_age=by_age), PlaceKey, ("", 0, 0))
            after, rank, parameters["position"] = by_place.decode(cursor)
            parameters |= {"after": after} if sku is None else {"sku": sku}
            parameters |= {} if by_age else {"rank": rank}
            parts = await self._reader.fetch_each(statement, parameters, of=sku)
            found, places = _found(parts, lambda row: (row.sku, row.rank, row.requested))
            next_cursor = by_place.next_cursor(places, limit)
        return BackorderPage([_backorder(row) for row in found[:limit]], next_cursor, *_count(parts))


def _pager(name: str, filtered: dict[str, str | None]) -> KeysetPager[tuple[str, int]]:
    return KeysetPager(name, filtered, SkuAndPositionKey, ("", 0))


def _given(**flags: bool) -> dict[str, str | None]:
    """The flags that are set. Cursors from before a flag existed remain valid."""
    return {name: "True" for name, value in flags.items() if value}


def _product_summary(row: Row[Any]) -> ProductSummary:
    return ProductSummary(
        sku=row.sku,
        available_qty=row.available_qty,
        backordered_qty=row.backordered_qty,
        reorder_point=row.reorder_point,
        held_qty=row.held_qty,
        incoming_qty=row.incoming_qty,
        next_eta=row.next_eta,
    )


def _batch_summary(row: Row[Any]) -> BatchSummary:
    return BatchSummary(**asdict(batch_state(row)), allocated_lines=row.allocated_lines)


def _backorder(row: Row[Any]) -> Backorder:
    return Backorder(**asdict(allocation_state(row)), placed_at=row.placed)


def _rank_of_shortage(row: Row[Any]) -> tuple[Any, ...]:
    """The order in which `list_statements.SHORTAGES` chooses what it shows."""
    return -row.backordered_qty, 0 if row.backordered_qty else _surplus(row), row.sku


def _place_of_shortage(row: Row[Any]) -> tuple[Any, ...]:
    """The order in which it shows them."""
    return -row.backordered_qty, _surplus(row), row.sku


def _surplus(row: Row[Any]) -> float:
    """The pieces above the reorder point. Without one there is no limit to what is missing: null comes first."""
    return -inf if row.reorder_point is None else row.available_qty + row.held_qty - row.reorder_point


def _found(parts: Sequence[Rows], key: Callable[[Row[Any]], Key]) -> tuple[Rows, list[Key]]:
    """The items of the page and maybe of the next, and their keys, in the order of the keys.

    A cell without an item still gives one row, which holds the count.
    """
    found = merged([[row for row in part if row.sku is not None] for part in parts], key)
    return found, [key(row) for row in found]


def _count(parts: Sequence[Rows]) -> tuple[int, bool]:
    """The count, and whether it is exact."""
    return total((part[0].matching, part[0].examined) for part in parts)
