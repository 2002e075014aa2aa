"""The kinds of unit of work that keep one contract, behind one face."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import text

from app.adapters.postgresql.cells import Cells
from app.adapters.postgresql.connections import create_engine
from app.adapters.postgresql.dead_letters import DeadLetterStore
from app.domain.product import Product
from app.domain.stock import OrderLine
from app.integration.dead_letters import DeadLetter
from app.service_layer.cells import CellMap
from app.service_layer.lock_sets import LockSet
from app.service_layer.ports import Cause, UnitOfWork
from tests.support.cells import CELLS
from tests.support.database import unit_of_work
from tests.support.fakes import InMemoryStore

SKU = "RED-CHAIR"
CAUSE = Cause("request-1", "conversation-1")


@dataclass
class Backend:
    """A kind of unit of work, and a way to look at what was committed behind its back."""

    begin: Callable[[], UnitOfWork]
    published: Callable[[], Awaitable[list[tuple[str, str, int | None, str]]]]
    letters: Callable[[], Awaitable[list[DeadLetter]]]


def in_memory() -> Backend:
    store = InMemoryStore()

    async def published() -> list[tuple[str, str, int | None, str]]:
        return [(message.type, message.subject, message.sequence, message.data) for message in store.published]

    async def letters() -> list[DeadLetter]:
        return store.tables.dead_letters

    return Backend(store.unit_of_work, published, letters)


@asynccontextmanager
async def over_postgresql(url: str, cells: CellMap = CELLS) -> AsyncIterator[Backend]:
    engine = create_engine(url, pool_size=5)

    async def published() -> list[tuple[str, str, int | None, str]]:
        async with engine.connect() as connection:
            rows = await connection.execute(text("SELECT type, subject, sequence, data FROM events ORDER BY id"))
            return [(row.type, row.subject, row.sequence, row.data) for row in rows]

    async def letters() -> list[DeadLetter]:
        return [kept.letter for kept in await DeadLetterStore(Cells(engine, cells).control).page(0)]

    yield Backend(lambda: unit_of_work(engine, cells), published, letters)
    await engine.dispose()


def line(order_id: str, qty: int, sku: str = SKU) -> OrderLine:
    return OrderLine(order_id, sku, qty)


async def load(uow: UnitOfWork, *orders: str, refs: tuple[str, ...] = ()) -> Product:
    await uow.products.load(LockSet(skus={SKU}, batch_refs=set(refs), lines={(order, SKU) for order in orders}))
    product = uow.products.get(SKU)
    assert product is not None
    return product


async def record(backend: Backend, ref: str, qty: int, *orders: tuple[str, int]) -> None:
    """Commit a batch, and after it lines that want stock."""
    async with backend.begin() as uow:
        await uow.products.load(LockSet(skus={SKU}, batch_refs={ref}, batches_to_create={(ref, SKU)}))
        product = uow.products.get_or_create(SKU)
        product.create_batch(ref, qty, None)
        for order_id, line_qty in orders:
            product.allocate(line(order_id, line_qty), "backorder")
        await uow.commit()


def letter(offset: int, message_id: str | None = None, value: bytes | None = b"\x00\xff") -> DeadLetter:
    headers = (("ce_type", b"odd"), ("ce_type", b"\xff\x00"))
    return DeadLetter("allocation", "inbound", 0, offset, b"\x00key", value, headers, "a reason", message_id)
