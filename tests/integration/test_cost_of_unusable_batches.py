"""Batches that nothing is allocated from cost the other commands of their product nothing, however many there are."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import create_engine
from app.domain.commands import Allocate, CancelAllocation, ChangeBatchQuantity, Command, CreateBatch, ExpireHolds
from app.read_model.availability import Question
from tests.support.cells import one_cell_only, queries_over
from tests.support.database import bus_over, play, raw_connection

MANY = 10_000
INSERT = """
    INSERT INTO batches (sku, number, ref, qty, first_qty, location, best_before, blocked)
        SELECT 'CHAIR', n + 100, 'unusable-' || n, 5, 5, {location}, {best_before}, {blocked}
        FROM generate_series(1, {many}) n;
    UPDATE products SET sequence = sequence + 20000, next_expiry = {next_expiry} WHERE sku = 'CHAIR'
"""
PLAIN = {"location": "NULL", "best_before": "NULL", "blocked": "false", "next_expiry": "NULL", "many": str(MANY)}
YESTERDAY = "current_date - 1"
READ = """
    SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)::int AS entries,
           (SELECT sum(idx_tup_fetch + seq_tup_read) FROM pg_stat_user_tables)::int AS rows
"""


pytestmark = one_cell_only("the statements are the same in each cell, and what they read is counted in one")


@pytest.fixture
async def one_connection(database_url: str) -> AsyncIterator[AsyncEngine]:
    """A pool of one, whose session counts what it reads."""
    engine = create_engine(database_url, pool_size=1)
    yield engine
    await engine.dispose()


async def read(engine: AsyncEngine) -> tuple[int, int]:
    """The index entries and the rows that were read so far."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_stat_force_next_flush()"))
        await connection.commit()
        row = (await connection.execute(text(READ))).one()
        await connection.commit()
        return row.entries, row.rows


async def cost(engine: AsyncEngine, *commands: Command) -> tuple[int, int]:
    """The index entries and the rows that the commands and a check read, each in a unit of work of its own."""
    bus, queries = bus_over(engine), queries_over(engine)
    before = await read(engine)
    looking = await read(engine)
    for command in commands:
        (outcome,) = await play(bus, command)
        outcome.unwrap()
    await queries.availability(Question("CHAIR", 1))
    after = await read(engine)
    entries, rows = (now - then - look for now, then, look in zip(after, looking, _spent(before, looking), strict=True))
    return entries, rows


def _spent(before: tuple[int, int], after: tuple[int, int]) -> list[int]:
    return [now - then for now, then in zip(after, before, strict=True)]


def commands(name: str) -> list[Command]:
    return [
        Allocate(order_id=name, sku="CHAIR", qty=2),
        Allocate(order_id=f"{name}-large", sku="CHAIR", qty=60),
        CancelAllocation(order_id=f"{name}-large", sku="CHAIR"),
        ChangeBatchQuantity(ref="chairs", qty=50),
        CancelAllocation(order_id=name, sku="CHAIR"),
    ]


async def insert(database_url: str, **terms: str) -> None:
    async with raw_connection(database_url) as admin:
        for table in ("products", "batches", "order_lines", "events"):
            await admin.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        await admin.execute(INSERT.format(**{**PLAIN, **terms}))


@pytest.mark.parametrize(
    "terms",
    [
        {"blocked": "true"},
        {"best_before": YESTERDAY},
        {"best_before": f"{YESTERDAY} - n % 100"},
        {"blocked": "true", "best_before": "current_date + 9"},
    ],
    ids=["blocked", "expired-together", "expired-one-by-one", "blocked-and-good"],
)
async def test_a_command_reads_no_batch_that_nothing_is_allocated_from(
    one_connection: AsyncEngine, database_url: str, terms: dict[str, str]
) -> None:
    await play(bus_over(one_connection), CreateBatch(ref="chairs", sku="CHAIR", qty=50))
    await cost(one_connection, *commands("first"))
    without = await cost(one_connection, *commands("without"))
    await insert(database_url, **terms)
    # The first time includes what PostgreSQL reads to plan again.
    await cost(one_connection, *commands("again"))
    with_them = await cost(one_connection, *commands("with"))
    assert _spent(without, with_them) == pytest.approx([0, 0], abs=20), (without, with_them)


async def test_only_the_midnight_reads_what_expires(one_connection: AsyncEngine, database_url: str) -> None:
    await play(bus_over(one_connection), CreateBatch(ref="chairs", sku="CHAIR", qty=50))
    await cost(one_connection, *commands("first"))
    without = await cost(one_connection, *commands("without"))
    await insert(database_url, best_before=YESTERDAY, next_expiry=YESTERDAY)
    midnight = await cost(one_connection, ExpireHolds(sku="CHAIR"))
    assert min(midnight) >= MANY
    after = await cost(one_connection, *commands("after"))
    assert _spent(without, after) == pytest.approx([0, 0], abs=20), (without, after)
