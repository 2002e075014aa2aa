"""Lists of products, batches and backorders, in pages. Each list has an index in its order.

A page scans the index from the cursor until it is full. The count scans the same index from its beginning, up to
`COUNT_LIMIT` entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from sqlalchemy import Row, TextClause, text

from app.integration.fields import AvailableQuantity, BackorderedQuantity, HeldQuantity, ReorderPoint, Sku
from app.read_model.pagination import COUNT_LIMIT, MOST_ITEMS, KeysetPager, Page, SkuAndPositionKey, SkuKey
from app.read_model.reader import Reader, allocation_state, batch_state
from app.service_layer.results import AllocationState, BatchState


@dataclass(frozen=True, slots=True)
class ProductSummary:
    """A product in a list. Its allocated and shipped quantities are not included."""

    sku: Sku
    available_qty: AvailableQuantity
    backordered_qty: BackorderedQuantity
    reorder_point: ReorderPoint
    held_qty: HeldQuantity


@dataclass(frozen=True, slots=True)
class ProductPage(Page):
    """A page of products, by SKU."""

    items: list[ProductSummary]


@dataclass(frozen=True, slots=True)
class BatchPage(Page):
    """A page of batches, by SKU and then in the order in which they were recorded."""

    items: list[BatchState]


@dataclass(frozen=True, slots=True)
class BackorderPage(Page):
    """A page of backorders, by SKU and then oldest request first."""

    items: list[AllocationState]


# `indexed` is the condition of the index, `wanted` the filter on its entries, `behind` the start of the page. The
# limits that are known when the statement is planned decide its plan. The outermost one ends the index scan.
_PAGE = """
    WITH counted AS (
        SELECT count(*) FILTER (WHERE {wanted}) AS matching, count(*) AS examined
        FROM (
            SELECT {counted} FROM {table} AS t WHERE {indexed} ORDER BY {key} LIMIT {count_limit} + 1
        ) AS t {counted_with}
    )
    SELECT counted.matching, counted.examined, page.*
    FROM counted LEFT JOIN (
        SELECT * FROM (
            SELECT {columns} FROM {table} AS t {shown_with}
            WHERE {indexed} AND {wanted} AND {behind} ORDER BY {key} LIMIT {most_items} + 1
        ) AS shown ORDER BY {key} LIMIT :limit
    ) AS page ON true
    ORDER BY {key}
"""

_WITH_AVAILABLE = """
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(qty - allocated_qty - shipped_qty), 0) AS available_qty
        FROM batches WHERE batches.sku = t.sku AND has_stock
    ) AS stock
"""


def _page(**parts: str) -> TextClause:
    return text(_PAGE.format(**parts, count_limit=COUNT_LIMIT, most_items=MOST_ITEMS))


@cache
def _products(*, low_stock: bool, backordered: bool) -> TextClause:
    wanted = ["t.has_backorders"] * backordered + ["available_qty + t.held_qty < t.reorder_point"] * low_stock
    indexed = ["t.reorder_point IS NOT NULL"] * low_stock or ["t.has_backorders"] * backordered
    return _page(
        table="products",
        columns="t.sku, t.backordered_qty, t.reorder_point, t.held_qty, stock.available_qty",
        shown_with=_WITH_AVAILABLE,
        counted="t.sku, t.has_backorders, t.reorder_point, t.held_qty",
        counted_with=_WITH_AVAILABLE if low_stock else "",
        indexed=" AND ".join(indexed) or "true",
        wanted=" AND ".join(wanted) or "true",
        behind="t.sku > :sku",
        key="sku",
    )


@cache
def _batches(*, of_one_sku: bool, arriving: bool) -> TextClause:
    indexed = ["t.sku = :sku"] * of_one_sku + ["t.eta IS NOT NULL"] * arriving
    return _page(
        table="batches",
        columns="t.ref, t.sku, t.number, t.qty, t.eta, t.allocated_qty, t.shipped_qty, t.held_qty",
        shown_with="",
        counted="t.eta" if arriving else "t.number",
        counted_with="",
        indexed=" AND ".join(indexed) or "true",
        wanted="t.eta <= :arriving_by" if arriving else "true",
        behind="t.number > :position" if of_one_sku else "(t.sku, t.number) > (:sku, :position)",
        key="number" if of_one_sku else "sku, number",
    )


@cache
def _backorders(*, of_one_sku: bool) -> TextClause:
    return _page(
        table="order_lines",
        columns="t.*, NULL AS ref, NULL::date AS eta",
        shown_with="",
        counted="t.requested",
        counted_with="",
        indexed="t.batch_number IS NULL" + " AND t.sku = :sku" * of_one_sku,
        wanted="true",
        behind="t.requested > :position" if of_one_sku else "(t.sku, t.requested) > (:sku, :position)",
        key="requested" if of_one_sku else "sku, requested",
    )


class Lists:
    """Reads lists. Each method raises InvalidCursorError for a cursor of another list or filter."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def products(self, *, low_stock: bool, backordered: bool, limit: int, cursor: str | None) -> ProductPage:
        """Products by SKU: all, those low on stock, those with backorders, or those with both."""
        pager = KeysetPager("products", {"low_stock": str(low_stock), "backordered": str(backordered)}, SkuKey, ("",))
        (sku,) = pager.decode(cursor)
        statement = _products(low_stock=low_stock, backordered=backordered)
        rows = await self._reader.fetch(statement, {"sku": sku, "limit": limit + 1})
        found = _found(rows)
        summaries = [
            ProductSummary(row.sku, row.available_qty, row.backordered_qty, row.reorder_point, row.held_qty)
            for row in found[:limit]
        ]
        return ProductPage(summaries, pager.next_cursor([(row.sku,) for row in found], limit), *_count(rows))

    async def batches(self, *, sku: str | None, arriving_by: date | None, limit: int, cursor: str | None) -> BatchPage:
        """Batches by SKU and number: all, those of one SKU, those that arrive by a day, or both."""
        by = arriving_by.isoformat() if arriving_by else None
        pager = _pager("batches", {"sku": sku, "arriving_by": by})
        after, position = pager.decode(cursor)
        statement = _batches(of_one_sku=sku is not None, arriving=arriving_by is not None)
        parameters = {"sku": sku or after, "position": position, "limit": limit + 1}
        if arriving_by is not None:
            parameters["arriving_by"] = arriving_by
        rows = await self._reader.fetch(statement, parameters)
        found = _found(rows)
        next_cursor = pager.next_cursor([(row.sku, row.number) for row in found], limit)
        return BatchPage([batch_state(row) for row in found[:limit]], next_cursor, *_count(rows))

    async def backorders(self, *, sku: str | None, limit: int, cursor: str | None) -> BackorderPage:
        """Backorders by SKU, oldest request first: all, or those of one SKU."""
        pager = _pager("backorders", {"sku": sku})
        after, position = pager.decode(cursor)
        parameters = {"sku": sku or after, "position": position, "limit": limit + 1}
        rows = await self._reader.fetch(_backorders(of_one_sku=sku is not None), parameters)
        found = _found(rows)
        next_cursor = pager.next_cursor([(row.sku, row.requested) for row in found], limit)
        return BackorderPage([allocation_state(row) for row in found[:limit]], next_cursor, *_count(rows))


def _pager(name: str, filtered: dict[str, str | None]) -> KeysetPager[tuple[str, int]]:
    return KeysetPager(name, filtered, SkuAndPositionKey, ("", 0))


def _found(rows: Sequence[Row[Any]]) -> list[Row[Any]]:
    """The items of the page. An empty page still has one row, which holds the count."""
    return [row for row in rows if row.sku is not None]


def _count(rows: Sequence[Row[Any]]) -> tuple[int, bool]:
    """The count, and whether it is exact."""
    return min(rows[0].matching, COUNT_LIMIT), rows[0].examined <= COUNT_LIMIT
