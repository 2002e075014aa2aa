"""What the queries make of the answers of several cells: the same as one cell with all rows would answer."""

import asyncio
import string
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.read_model.lists import Lists
from app.read_model.merging import newest_first, total
from app.read_model.pagination import COUNT_LIMIT, Page
from app.service_layer.cells import CellMap

LIMIT = 2
NOW = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEYS = {
    "products": ("sku",),
    "batches": ("sku", "number"),
    "batches by eta": ("eta", "sku", "number"),
    "backorders": ("sku", "rank", "number"),
    "backorders by age": ("placed_at", "sku", "number"),
}
"""The order of each list."""

PARAMETERS = {
    "products": ("sku",),
    "batches": ("after", "position"),
    "batches by eta": ("eta", "after", "position"),
    "backorders": ("after", "rank", "position"),
    "backorders by age": ("placed_at", "after", "position"),
}
"""The parameters behind which a page begins."""

ASK: Mapping[str, Callable[[Lists, str | None], Awaitable[Page]]] = {
    "products": lambda lists, cursor: lists.products(limit=LIMIT, cursor=cursor),
    "batches": lambda lists, cursor: lists.batches(limit=LIMIT, cursor=cursor),
    "batches by eta": lambda lists, cursor: lists.batches(sort="eta", limit=LIMIT, cursor=cursor),
    "backorders": lambda lists, cursor: lists.backorders(limit=LIMIT, cursor=cursor),
    "backorders by age": lambda lists, cursor: lists.backorders(sort="placed_at", limit=LIMIT, cursor=cursor),
}

names = st.builds(
    str.__add__,
    st.sampled_from(string.ascii_letters + string.digits),
    st.text(alphabet="aZ0._:-", max_size=2),
)


@st.composite
def items(draw: st.DrawFn) -> list[SimpleNamespace]:
    """Rows that every list can show, with keys that often begin alike. A product has several of them."""
    skus = draw(st.lists(names, unique=True, max_size=6))
    found = []
    for number, sku in enumerate(sku for sku in skus for _ in range(draw(st.integers(1, 3)))):
        line = {"order_id": "o", "line": "", "rank": draw(st.integers(1, 2)), "requested": number, "shipped": None}
        line |= {"placed_at": NOW + HOUR * draw(st.integers(0, 2)), "placed": NOW, "held_until": None}
        batch = {
            "ref": f"b{number}",
            "number": number,
            "eta": date(2030, 1, draw(st.integers(1, 3))),
            "is_expired": False,
        }
        batch |= {"allocated_qty": 0, "shipped_qty": 0, "allocated_lines": 0, "blocked": False, "best_before": None}
        stock = {"available_qty": 0, "backordered_qty": 0, "reorder_point": None, "incoming_qty": 0, "next_eta": None}
        found.append(SimpleNamespace(**line, **batch, **stock, sku=sku, qty=1, held_qty=0, location=None))
    return found


class FakeCells:
    """In place of a Reader: each cell has the items of its SKUs, and answers as the statement of the list does."""

    def __init__(self, found: Sequence[SimpleNamespace], cells: int, name: str) -> None:
        self._cells = CellMap(cells)
        self._items = sorted(found, key=self.key_of(name))
        self._name = name

    @staticmethod
    def key_of(name: str) -> Callable[[SimpleNamespace], tuple[Any, ...]]:
        return lambda item: tuple(getattr(item, field) for field in KEYS[name])

    async def fetch_each(self, _: object, parameters: Mapping[str, Any], *, of: None = None) -> list[Any]:
        assert of is None
        return [self._answer(cell, parameters) for cell in range(self._cells.number)]

    def _answer(self, cell: int, parameters: Mapping[str, Any]) -> list[SimpleNamespace]:
        key, after = self.key_of(self._name), tuple(parameters[each] for each in PARAMETERS[self._name])
        mine = [item for item in self._items if self._cells.of(item.sku) == cell]
        counted = {"matching": len(mine), "examined": len(mine)}
        page = [item for item in mine if key(item) > after][: parameters["limit"]]
        return [SimpleNamespace(**vars(item), **counted) for item in page] or [SimpleNamespace(sku=None, **counted)]


async def walk(name: str, found: Sequence[SimpleNamespace], cells: int) -> list[Page]:
    """All pages of the list."""
    lists = Lists(FakeCells(found, cells, name))  # type: ignore[arg-type] # it takes the place of a Reader
    pages = [await ASK[name](lists, None)]
    while pages[-1].next_cursor is not None:
        pages.append(await ASK[name](lists, pages[-1].next_cursor))
    return pages


@pytest.mark.parametrize("name", KEYS)
@given(found=items(), cells=st.integers(2, 5))
def test_the_pages_over_cells_are_those_over_all_rows(name: str, found: list[SimpleNamespace], cells: int) -> None:
    if name == "products":
        found = list({item.sku: item for item in found}.values())
    pages = asyncio.run(walk(name, found, cells))
    assert pages == asyncio.run(walk(name, found, 1))
    assert [len(page.items) for page in pages[:-1]] == [LIMIT] * (len(pages) - 1)
    shown = [item.sku for page in pages for item in page.items]
    assert shown == [item.sku for item in sorted(found, key=FakeCells.key_of(name))]
    assert {page.count for page in pages} == {len(found)}


shortages = st.lists(
    st.builds(
        SimpleNamespace,
        sku=names,
        backordered_qty=st.integers(0, 2),
        reorder_point=st.none() | st.integers(1, 3),
        available_qty=st.integers(0, 2),
        held_qty=st.integers(0, 1),
        incoming_qty=st.just(0),
        next_eta=st.none(),
    ).filter(lambda row: row.backordered_qty or (row.reorder_point or 0) > row.available_qty + row.held_qty),
    unique_by=lambda row: row.sku,
    max_size=12,
)


class FakeShortages:
    """In place of a Reader: cells that answer as `list_statements.SHORTAGES` does."""

    def __init__(self, rows: Sequence[SimpleNamespace], cells: int) -> None:
        self._rows = rows
        self._cells = CellMap(cells)

    async def fetch_each(self, _: object, parameters: Mapping[str, Any]) -> list[Any]:
        return [self.answer(cell, parameters["limit"]) for cell in range(self._cells.number)]

    def answer(self, cell: int, limit: int) -> list[SimpleNamespace]:
        """The page of the cell, or a row with the count only."""
        mine = [row for row in self._rows if self._cells.of(row.sku) == cell]
        waiting = sorted((row for row in mine if row.backordered_qty), key=lambda row: (-row.backordered_qty, row.sku))
        low = sorted((row for row in mine if not row.backordered_qty), key=lambda row: (-_missing(row), row.sku))
        shown = sorted(
            waiting[:limit] + low[:limit],
            key=lambda row: (-row.backordered_qty, row.reorder_point is not None, -_missing(row), row.sku),
        )
        counted = {"matching": len(mine), "examined": len(mine)}
        return [SimpleNamespace(**vars(row), **counted) for row in shown[:limit]] or [
            SimpleNamespace(sku=None, **counted)
        ]


def _missing(row: SimpleNamespace) -> int:
    """How many pieces are missing up to the reorder point."""
    return 0 if row.reorder_point is None else row.reorder_point - row.available_qty - row.held_qty


@given(rows=shortages, cells=st.integers(2, 5), limit=st.integers(1, 6))
def test_the_shortages_over_cells_are_those_over_all_rows(rows: list[SimpleNamespace], cells: int, limit: int) -> None:
    pages = [asyncio.run(Lists(FakeShortages(rows, each)).shortages(limit=limit)) for each in (1, cells)]  # type: ignore[arg-type]
    assert pages[0] == pages[1]
    expected = FakeShortages(rows, 1).answer(0, limit)
    assert [item.sku for item in pages[1].items] == [row.sku for row in expected if row.sku is not None]


@given(parts=st.lists(st.tuples(st.sampled_from([0, 1, 6_000]), st.sampled_from([6_000, COUNT_LIMIT + 1])), min_size=1))
def test_a_count_is_exact_if_each_part_is_and_their_sum_is_within_the_limit(parts: list[tuple[int, int]]) -> None:
    count, is_exact = total(parts)
    found = sum(matching for matching, _ in parts)
    assert count == min(found, COUNT_LIMIT)
    assert is_exact == (all(examined == 6_000 for _, examined in parts) and found <= COUNT_LIMIT)


@given(events=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=12, unique=True))
def test_events_of_a_subject_are_in_the_order_of_sequences_whatever_their_times(events: list[tuple[int, int]]) -> None:
    rows: Any = [
        SimpleNamespace(subject=str(subject), number=number, created_at=time)
        for number, (time, subject) in enumerate(events)
    ]
    parts = [[row for row in rows if int(row.subject) % 2 == part] for part in (0, 1)]
    found: Any = newest_first(parts, lambda row: row.subject)
    assert sorted(found, key=id) == sorted(rows, key=id)
    for subject in "0123":
        numbers = [row.number for row in found if row.subject == subject]
        assert numbers == sorted(numbers, reverse=True)
    if [time for time, _ in events] == sorted(time for time, _ in events):
        assert [row.created_at for row in found] == sorted((row.created_at for row in found), reverse=True)
