"""Dry runs over PostgreSQL: one read-only snapshot, no locks, and a second attempt after a lost connection."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql import statements
from app.adapters.postgresql.snapshot import Snapshots
from app.domain.commands import Allocate, CreateBatch, PlaceOrder
from app.domain.commands.orders import OrderedLine
from app.service_layer.lock_sets import LockSet
from app.service_layer.messagebus import MessageBus
from app.service_layer.ports import UnitOfWork
from tests.support.cells import cells_of, queries_over
from tests.support.database import play, raw_connection

ORDER = PlaceOrder(order_id="order-1", lines=[OrderedLine(sku="CHAIR", qty=2)])


@pytest.fixture(autouse=True)
async def stock(bus: MessageBus) -> None:
    await play(bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=10))


async def test_a_dry_run_does_not_wait_for_a_locked_order_or_product(engine: AsyncEngine, database_url: str) -> None:
    async with raw_connection(database_url) as other, other.transaction():
        await other.fetch(statements.LOCK_PRODUCTS, ["CHAIR"])
        await other.fetch(statements.LOCK_NAMES, [statements.lock_number("order", "order-1")])

        order = await queries_over(engine).dry_runs.place_order(ORDER)

    assert [line.batch_ref for line in order.lines] == ["batch-1"]


async def test_all_statements_read_the_same_snapshot(engine: AsyncEngine, bus: MessageBus) -> None:
    async def read_twice(uow: UnitOfWork) -> list[int]:
        await play(bus, Allocate(order_id="order-2", sku="CHAIR", qty=3))
        await uow.products.load(LockSet(skus={"CHAIR"}))
        product = uow.products.get("CHAIR")
        assert product is not None
        return [batch.allocated_qty for batch in product.batches.values()]

    assert await Snapshots(cells_of(engine)).run(LockSet(skus={"ABSENT"}), read_twice) == [0]


async def test_the_server_refuses_a_write_on_a_snapshot(engine: AsyncEngine) -> None:
    async def write(uow: UnitOfWork) -> None:
        product = uow.products.get("CHAIR")
        assert product is not None
        product.create_batch("batch-2", 5, None)
        await uow.flush_all()
        await uow.commit()

    with pytest.raises(Exception, match="read-only"):
        await Snapshots(cells_of(engine)).run(LockSet(skus={"CHAIR"}), write)


async def test_work_whose_connection_is_lost_runs_once_more_on_another_one(
    engine: AsyncEngine, database_url: str
) -> None:
    attempts = 0

    async def work(uow: UnitOfWork) -> bool:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            async with raw_connection(database_url) as other:
                await other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        await uow.products.load(LockSet(skus={"CHAIR"}))
        return uow.products.get("CHAIR") is not None

    assert await Snapshots(cells_of(engine)).run(LockSet(skus={"CHAIR"}), work)
    assert attempts == 2
