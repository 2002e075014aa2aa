"""What a unit of work has read is freed with it, and does not wait for the garbage collector."""

import gc
import weakref
from collections.abc import Iterator
from datetime import date
from typing import Self

import pytest

from app.adapters.postgresql.connections import create_engine
from app.adapters.postgresql.unit_of_work import SqlUnitOfWork
from app.domain.commands import Allocate, CreateBatch, OrderedLine, PlaceOrder
from app.service_layer.cells import CellMap
from tests.support.cells import CELLS
from tests.support.database import bus_over, results
from tests.support.four_cells import CELLS as FOUR_CELLS

repositories: list[weakref.ref[object]] = []


class RememberedUnitOfWork(SqlUnitOfWork):
    """Keeps weak references to what it is made of."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        repositories.extend(map(weakref.ref, (self, self.products, self.orders, self.outbox, self._work)))
        return self


@pytest.fixture
def no_collection() -> Iterator[None]:
    repositories.clear()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(params=[CELLS, FOUR_CELLS], ids=["one schema", "four cells"])
def cells(request: pytest.FixtureRequest) -> CellMap:
    given: CellMap = request.param
    return given


@pytest.fixture
def url(cells: CellMap, request: pytest.FixtureRequest) -> str:
    text: str = request.getfixturevalue("cells_url" if cells is FOUR_CELLS else "database_url")
    return text


@pytest.mark.usefixtures("no_collection")
async def test_no_cycle_of_references_keeps_a_unit_of_work(url: str, cells: CellMap) -> None:
    engine = create_engine(url, pool_size=2)
    bus = bus_over(engine, cells=cells, kind=RememberedUnitOfWork)

    await results(bus, *(CreateBatch(ref=f"batch-{sku}", sku=sku, qty=9, eta=date(2031, 1, 1)) for sku in "abcd"))
    await results(bus, Allocate(order_id="order-1", sku="a", qty=1))
    await results(bus, PlaceOrder(order_id="order-2", lines=[OrderedLine(sku=sku, qty=1) for sku in "abcd"]))
    await engine.dispose()

    assert len(repositories) >= 15
    assert [each() for each in repositories] == [None] * len(repositories)
