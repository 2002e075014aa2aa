"""States that the tables cannot hold, whatever the code above them does."""

import asyncpg
import pytest

from app.domain.commands import Allocate, CreateBatch
from app.service_layer.messagebus import MessageBus
from tests.support.database import play, raw_connection

pytestmark = pytest.mark.usefixtures("stock")

LINE = "INSERT INTO order_lines (order_id, sku, qty, requested, batch_number, allocated)"
BATCH = "INSERT INTO batches (sku, number, ref, qty, allocated_qty, first_qty)"
OUTBOX = "INSERT INTO outbox (shard, sku, sequence, message_id, type, data, correlation_id, causation_id)"


@pytest.fixture
async def stock(bus: MessageBus) -> None:
    """Ten chairs of which order-1 holds six, and two tables; tables have no batch number 2."""
    await play(
        bus,
        CreateBatch(ref="chairs", sku="CHAIR", qty=2),
        CreateBatch(ref="more-chairs", sku="CHAIR", qty=10),
        Allocate(order_id="order-1", sku="CHAIR", qty=6),
        CreateBatch(ref="tables", sku="TABLE", qty=2),
    )


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        pytest.param(
            "UPDATE batches SET allocated_qty = 11 WHERE ref = 'more-chairs'",
            "ck_batches_never_oversold",
            id="oversold",
        ),
        pytest.param(
            "UPDATE batches SET qty = 5 WHERE ref = 'more-chairs'", "ck_batches_never_oversold", id="oversold-by-a-cut"
        ),
        pytest.param(
            "UPDATE batches SET allocated_qty = -1 WHERE ref = 'chairs'",
            "ck_batches_never_oversold",
            id="less-than-nothing-allocated",
        ),
        pytest.param(f"{BATCH} VALUES ('TABLE', 9, 'b', -1, 0, 1)", "ck_batches_", id="less-than-nothing-bought"),
        pytest.param(f"{LINE} VALUES ('order-1', 'CHAIR', 6, 9, NULL, NULL)", "pk_order_lines", id="doubled-line"),
        pytest.param(f"{LINE} VALUES ('o', 'TABLE', 1, 9, 2, 9)", "fk_order_lines_batches", id="batch-of-another-sku"),
        pytest.param(f"{LINE} VALUES ('o', 'LAMP', 1, 9, NULL, NULL)", "fk_order_lines_products", id="no-such-product"),
        pytest.param(f"{LINE} VALUES ('o', 'TABLE', 0, 9, NULL, NULL)", "ck_order_lines_qty", id="empty-line"),
        pytest.param(
            f"{LINE} VALUES ('o', 'TABLE', 1, 9, 1, NULL)", "ck_order_lines_allocated_or_waiting", id="half-allocated"
        ),
        pytest.param(
            f"{LINE} VALUES ('o', 'TABLE', 1, 9, NULL, 9)", "ck_order_lines_allocated_or_waiting", id="half-waiting"
        ),
        pytest.param(f"{BATCH} VALUES ('TABLE', 9, 'chairs', 1, 0, 1)", "uq_batches_ref", id="doubled-ref"),
        pytest.param(f"{BATCH} VALUES ('CHAIR', 1, 'b', 1, 0, 1)", "pk_batches", id="doubled-batch-number"),
        pytest.param(f"{BATCH} VALUES ('LAMP', 1, 'b', 1, 0, 1)", "fk_batches_products", id="batch-without-product"),
        pytest.param(
            "UPDATE batches SET sku = 'TABLE' WHERE ref = 'more-chairs'",
            "fk_order_lines_batches",
            id="batch-that-changes-its-sku-under-a-line",
        ),
        pytest.param("DELETE FROM batches WHERE ref = 'more-chairs'", "fk_order_lines_batches", id="batch-deleted"),
        pytest.param(
            f"{OUTBOX} VALUES (0, 'CHAIR', 1, gen_random_uuid(), 't', 'd', 'c', 'c')",
            "uq_outbox_sku_sequence",
            id="doubled-sequence",
        ),
        pytest.param("UPDATE products SET backordered_qty = -1", "ck_products_backordered_qty", id="negative-queue"),
        pytest.param("INSERT INTO products (sku) VALUES ('CHAIR')", "pk_products", id="doubled-product"),
    ],
)
async def test_cannot_be_represented(database_url: str, statement: str, constraint: str) -> None:
    async with raw_connection(database_url) as connection:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=constraint):
            await connection.execute(statement)


async def test_events_without_a_sequence_may_be_many(database_url: str) -> None:
    async with raw_connection(database_url) as connection:
        for _ in range(2):
            await connection.execute(f"{OUTBOX} VALUES (0, 'LAMP', NULL, gen_random_uuid(), 't', 'd', 'c', 'c')")


async def test_identifiers_sort_by_their_bytes_in_any_language(database_url: str) -> None:
    async with raw_connection(database_url) as connection:
        await connection.execute("INSERT INTO products (sku) SELECT unnest(ARRAY['a', 'B', '_x'])")
        skus = [row["sku"] for row in await connection.fetch("SELECT sku FROM products ORDER BY sku")]

    assert skus == sorted(skus)
