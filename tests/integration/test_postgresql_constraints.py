"""Invalid states that the constraints of the tables refuse."""

import asyncio
import uuid
from collections.abc import Iterator

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from app.adapters.postgresql.connections import create_engine
from app.domain.commands import Allocate, CreateBatch
from app.embedded.postgresql import EmbeddedPostgresql
from tests.support.cells import in_one_cell
from tests.support.database import bus_over, raw_connection, results

(TABLE,) = in_one_cell("TABLE", 1, cell_of="CHAIR")
LINE = "INSERT INTO order_lines (order_id, sku, qty, requested, batch_number, allocated)"
BATCH = "INSERT INTO batches (sku, number, ref, qty, allocated_qty, first_qty)"
EVENTS = "INSERT INTO events (shard, subject, sequence, message_id, type, data, correlation_id, causation_id)"


async def make_stock(database_url: str) -> None:
    """Ten chairs of which order-1 holds six, and two tables; tables have no batch number 2."""
    engine = create_engine(database_url, pool_size=1)
    await results(
        bus_over(engine),
        CreateBatch(ref="chairs", sku="CHAIR", qty=2),
        CreateBatch(ref="more-chairs", sku="CHAIR", qty=10),
        Allocate(order_id="order-1", sku="CHAIR", qty=6),
        CreateBatch(ref="tables", sku=TABLE, qty=2),
    )
    await engine.dispose()


@pytest.fixture(scope="module")
def stocked_url(postgresql: EmbeddedPostgresql, template_database: str) -> Iterator[str]:
    """One database for all tests here, because refused statements change nothing."""
    name = f"constraints_{uuid.uuid4().hex}"

    async def execute(statement: str) -> None:
        async with raw_connection(postgresql.admin_url) as admin:
            await admin.execute(statement)

    asyncio.run(execute(f"CREATE DATABASE {name} OWNER allocation TEMPLATE {template_database}"))
    url = make_url(postgresql.database_url).set(database=name).render_as_string(hide_password=False)
    asyncio.run(make_stock(url))
    yield url
    asyncio.run(execute(f"DROP DATABASE {name} WITH (FORCE)"))


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
            "ck_batches_never_negative",
            id="less-than-nothing-allocated",
        ),
        pytest.param(f"{BATCH} VALUES ('{TABLE}', 9, 'b', -1, 0, 1)", "ck_batches_", id="less-than-nothing-bought"),
        pytest.param(f"{LINE} VALUES ('order-1', 'CHAIR', 6, 9, NULL, NULL)", "pk_order_lines", id="doubled-line"),
        pytest.param(
            f"{LINE} VALUES ('o', '{TABLE}', 1, 9, 2, 9)", "fk_order_lines_batches", id="batch-of-another-sku"
        ),
        pytest.param(f"{LINE} VALUES ('o', 'LAMP', 1, 9, NULL, NULL)", "fk_order_lines_products", id="no-such-product"),
        pytest.param(f"{LINE} VALUES ('o', '{TABLE}', 0, 9, NULL, NULL)", "ck_order_lines_qty", id="empty-line"),
        pytest.param(
            f"{LINE} VALUES ('o', '{TABLE}', 1, 9, 1, NULL)", "ck_order_lines_allocated_or_waiting", id="half-allocated"
        ),
        pytest.param(
            f"{LINE} VALUES ('o', '{TABLE}', 1, 9, NULL, 9)", "ck_order_lines_allocated_or_waiting", id="half-waiting"
        ),
        pytest.param(f"{BATCH} VALUES ('{TABLE}', 9, 'chairs', 1, 0, 1)", "uq_batches_ref", id="doubled-ref"),
        pytest.param(f"{BATCH} VALUES ('CHAIR', 1, 'b', 1, 0, 1)", "pk_batches", id="doubled-batch-number"),
        pytest.param(f"{BATCH} VALUES ('LAMP', 1, 'b', 1, 0, 1)", "fk_batches_products", id="batch-without-product"),
        pytest.param(
            f"UPDATE batches SET sku = '{TABLE}' WHERE ref = 'more-chairs'",
            "fk_order_lines_batches",
            id="batch-that-changes-its-sku-under-a-line",
        ),
        pytest.param("DELETE FROM batches WHERE ref = 'more-chairs'", "fk_order_lines_batches", id="batch-deleted"),
        pytest.param(
            f"{EVENTS} VALUES (0, 'CHAIR', 1, gen_random_uuid(), 't', 'd', 'c', 'c')",
            "uq_events_of_product",
            id="doubled-sequence",
        ),
        pytest.param("UPDATE products SET backordered_qty = -1", "ck_products_backordered_qty", id="negative-queue"),
        pytest.param("INSERT INTO products (sku) VALUES ('CHAIR')", "pk_products", id="doubled-product"),
    ],
)
async def test_an_invalid_state_is_refused(stocked_url: str, statement: str, constraint: str) -> None:
    async with raw_connection(stocked_url, cell_of="CHAIR") as connection:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=constraint):
            await connection.execute(statement)


async def test_several_events_can_have_no_sequence(stocked_url: str) -> None:
    async with raw_connection(stocked_url, cell_of="CHAIR") as connection:
        for _ in range(2):
            await connection.execute(f"{EVENTS} VALUES (0, 'LAMP', NULL, gen_random_uuid(), 't', 'd', 'c', 'c')")


async def test_identifiers_sort_by_their_bytes_in_any_language(stocked_url: str) -> None:
    async with raw_connection(stocked_url, cell_of="CHAIR") as connection:
        await connection.execute("INSERT INTO products (sku) SELECT unnest(ARRAY['a', 'B', '_x'])")
        skus = [row["sku"] for row in await connection.fetch("SELECT sku FROM products ORDER BY sku")]

    assert skus == sorted(skus)
