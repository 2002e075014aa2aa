"""How the queries use the answers of several cells that differ, are cut, or fail."""

import asyncio
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.adapters.postgresql.cells import Cells
from app.adapters.postgresql.connections import create_engine
from app.adapters.postgresql.unavailable import DatabaseUnavailableError
from app.embedded.process import free_port
from app.read_model import activity, reader, search
from app.read_model.activity import Activities
from app.read_model.history import History
from app.read_model.reader import Reader
from app.service_layer.cells import CellMap

NOW = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)


class FakeHours:
    """In place of a Reader: the answers of the cells to the count of the hours, and no newest events."""

    def __init__(self, *parts: list[SimpleNamespace]) -> None:
        self._answers: list[Any] = [list(parts), [[]], [[]]]

    async def fetch_each(self, *_: object) -> Any:  # noqa: ANN401 - rows
        return self._answers.pop(0)


def hours(*counted: tuple[int, int, int], now: datetime = NOW) -> list[SimpleNamespace]:
    """The answer of a cell: the hour of the day, allocations, and events that were examined."""
    day = {"midnight": now.replace(hour=0, minute=0), "present": now.replace(minute=0), "now": now}
    found = [
        SimpleNamespace(
            **day,
            hour=NOW.replace(hour=hour, minute=0),
            allocations=number,
            backorders=0,
            arrivals=0,
            examined=examined,
        )
        for hour, number, examined in counted
    ]
    return found or [SimpleNamespace(**day, hour=None)]


async def test_hours_have_the_sums_over_the_cells() -> None:
    reader: Any = FakeHours(hours((3, 5, 5), (12, 1, 1)), hours(), hours((3, 2, 2), (4, 7, 7)))
    found = await Activities(reader).read()
    assert [hour.allocations for hour in found.hours] == [0, 0, 0, 7, 7, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found.hours_are_complete


async def test_hours_that_one_of_the_cells_has_not_examined_are_left_out() -> None:
    limit = activity.EXAMINED_LIMIT
    reader: Any = FakeHours(hours((3, 5, 5)), hours((9, 1, 1), (10, 2, limit - 1)), hours((6, 1, 1), (7, 3, limit)))
    found = await Activities(reader).read()
    assert [(hour.time.hour, hour.allocations) for hour in found.hours] == [(10, 2), (11, 0), (12, 0)]
    assert not found.hours_are_complete


async def test_an_hour_that_has_begun_in_one_cell_only_is_the_present_one() -> None:
    early = hours((12, 1, 1), now=NOW.replace(minute=59))
    reader: Any = FakeHours(early, hours((12, 2, 2), (13, 4, 4), now=NOW.replace(hour=13, minute=0)))
    found = await Activities(reader).read()
    assert [hour.allocations for hour in found.hours][-2:] == [3, 4]
    assert found.time == NOW.replace(minute=59)


async def test_events_of_an_order_in_two_cells_can_have_one_id() -> None:
    about = {"principal": None, "correlation_id": "c", "causation_id": "c", "type": "line_allocated.v1", "number": 1}

    def row(sku: str, minute: int) -> SimpleNamespace:
        data = json.dumps({"order_id": "order-1", "sku": sku})
        return SimpleNamespace(
            id=1, data=data, created_at=NOW.replace(minute=minute), message_id=UUID(int=minute), **about
        )

    class Events:
        async def fetch_each(self, *_: object) -> list[list[SimpleNamespace]]:
            # The second cell found its event in two ways.
            return [[row("CHAIR", 1)], [row("TABLE", 2), row("TABLE", 2)]]

    reader: Any = Events()
    found = await History(reader).of_order("order-1")
    assert [entry.event_id for entry in found] == [UUID(int=2), UUID(int=1)]


async def test_a_search_leaves_out_orders_behind_those_that_a_cell_has_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "_MOST_LINES", 3)

    class Found:
        async def fetch_each(self, *_: object) -> list[list[SimpleNamespace]]:
            # The first cell may also have an order b, of which it shows no line.
            return [[row("a"), row("a"), row("a"), row("x", "sku")], [row("a"), row("c"), row("b", "sku")]]

    def row(name: str, kind: str = "order") -> SimpleNamespace:
        return SimpleNamespace(name=name, kind=kind)

    reader: Any = Found()
    found = await search.search(reader, "a")
    assert (found.orders, found.skus) == (["a"], ["b", "x"])


async def test_a_query_over_cells_uses_a_few_connections_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "AT_ONCE", 2)
    pair, running, most = asyncio.Barrier(2), 0, 0

    async def execute(*_: object) -> list[int]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        async with asyncio.timeout(10):
            await pair.wait()
        running -= 1
        return [1]

    monkeypatch.setattr(reader, "_execute", execute)
    engine = create_engine("postgresql+asyncpg://user@127.0.0.1/absent", pool_size=2)
    found: Any = await Reader(Cells(engine, CellMap(4))).fetch_each(text("SELECT 1"), {})
    assert found == [[1]] * 4
    assert most == 2


async def test_a_query_over_cells_raises_the_error_of_one_of_them() -> None:
    away = create_engine(f"postgresql+asyncpg://user@127.0.0.1:{free_port()}/absent", pool_size=2)
    with pytest.raises(DatabaseUnavailableError):
        await Reader(Cells(away, CellMap(4))).fetch_each(text("SELECT 1"), {})
    await away.dispose()
