"""What a unit of work has read is freed with it, and does not wait for the garbage collector."""

import gc
import weakref
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from app.adapters.postgresql.cell_work import CellWork
from app.adapters.postgresql.connections import create_engine
from app.adapters.postgresql.product_repository import SqlProductRepository
from app.domain.commands import Allocate, CreateBatch, OrderedLine, PlaceOrder
from app.service_layer.cells import CellMap
from tests.support.cells import CELLS
from tests.support.database import bus_over, results
from tests.support.four_cells import CELLS as FOUR_CELLS

Repositories = list[weakref.ref[SqlProductRepository]]


@pytest.fixture
def repositories(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repositories]:
    """The repositories of products, one for each cell of each unit of work. Nothing is collected meanwhile."""
    made: Repositories = []
    make = CellWork.__init__

    def remember(self: CellWork, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        made.append(weakref.ref(self.products))

    monkeypatch.setattr(CellWork, "__init__", remember)
    gc.disable()
    yield made
    gc.enable()


@pytest.fixture(params=[CELLS, FOUR_CELLS], ids=["one schema", "four cells"])
def cells(request: pytest.FixtureRequest) -> CellMap:
    given: CellMap = request.param
    return given


@pytest.fixture
def url(cells: CellMap, request: pytest.FixtureRequest) -> str:
    text: str = request.getfixturevalue("cells_url" if cells is FOUR_CELLS else "database_url")
    return text


async def test_no_cycle_of_references_keeps_what_was_read(url: str, cells: CellMap, repositories: Repositories) -> None:
    engine = create_engine(url, pool_size=2)
    bus = bus_over(engine, cells=cells)

    await results(bus, *(CreateBatch(ref=f"batch-{sku}", sku=sku, qty=9, eta=date(2031, 1, 1)) for sku in "abcd"))
    await results(bus, Allocate(order_id="order-1", sku="a", qty=1))
    await results(bus, PlaceOrder(order_id="order-2", lines=[OrderedLine(sku=sku, qty=1) for sku in "abcd"]))
    await engine.dispose()

    assert len(repositories) >= 3
    assert [each() for each in repositories] == [None] * len(repositories)
