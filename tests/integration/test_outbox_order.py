"""Events of several cells are published by subject and sequence, even if new events have smaller ids than older ones.

That is so after Citus has moved a cell: each server draws ids from a range of its own.
"""

import random
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import asyncpg
import pytest

from app.adapters.postgresql.messages import SHARDS, shard_of
from app.adapters.postgresql.outbox_reader import OutboxReader
from app.adapters.postgresql.outbox_rows import OutboxRow
from app.bootstrap import Service
from app.domain.commands import CancelOrder, CreateBatch, OrderedLine, PlaceOrder
from app.entrypoints.kafka import relay as relay_module
from tests.support.database import play
from tests.support.four_cells import SCHEMAS, in_all_cells, in_each_cell, schema_of_name
from tests.support.records import FakeBroker
from tests.support.relaying import relaying_over_cells
from tests.support.waiting import eventually

ALL = list(range(SHARDS))
SKU = in_each_cell("SKU")[0]


class Numbered(NamedTuple):
    """An event with a given id: that of a product with its sequence, or one without sequence and its place."""

    id: int
    subject: str
    sequence: int | None
    place: int | None = None


async def insert(connection: asyncpg.Connection, events: Iterable[Numbered]) -> None:
    """Insert events, each as pending and in one transaction of its own."""
    for event in events:
        schema = schema_of_name(event.subject)
        await connection.execute(
            f"WITH event AS (INSERT INTO {schema}.events"
            " (id, shard, subject, sequence, place, type, data, correlation_id, causation_id) OVERRIDING SYSTEM VALUE"
            " VALUES ($1, $2, $3, $4, $5, 'out_of_stock.v1', '{}', 'c', 'c'))"
            f" INSERT INTO {schema}.outbox (id, shard) VALUES ($1, $2)",
            event.id,
            shard_of(event.subject),
            event.subject,
            event.sequence,
            event.place,
        )


def numbers(rows: Iterable[OutboxRow], subject: str) -> list[int | None]:
    """The sequences or places of the subject's rows, in their order."""
    return [row.place if row.sequence is None else row.sequence for row in rows if row.subject == subject]


async def test_ids_that_fall_while_sequences_rise_do_not_change_the_order(
    over_cells: Service, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "POLL_INTERVAL", 0.05)
    monkeypatch.setattr(relay_module, "READ_LIMIT", 3)
    broker = FakeBroker()
    skus = in_each_cell("SKU", of_each=2)
    async with relaying_over_cells(over_cells, broker):
        for first in (1, 11, 21):
            # Each ten events are of another server, whose range is below that of the server before.
            beginning = 10_000 - 100 * first
            events = [
                Numbered(beginning - 10 * number - place, sku, first + number)
                for number in range(10)
                for place, sku in enumerate(skus)
            ]
            await insert(database, events)

        async def is_empty() -> bool:
            return await in_all_cells(database, "SELECT count(*) FROM {schema}.outbox") == [0] * 4

        await eventually(is_empty)

    assert {sku: list(dict.fromkeys(broker.sequences(sku))) for sku in skus} == {
        sku: list(range(1, 31)) for sku in skus
    }


async def test_a_page_that_begins_with_a_later_event_has_the_earlier_ones_in_its_place(
    over_cells: Service, database: asyncpg.Connection
) -> None:
    reader = OutboxReader(over_cells.cells.engine_of(SKU), lease=60)
    await insert(database, [Numbered(100 - sequence, SKU, sequence) for sequence in range(1, 8)])

    assert numbers((await reader.read(ALL, 2)).rows, SKU) == [1, 2]
    assert numbers((await reader.read(ALL, 100)).rows, SKU) == [1, 2, 3, 4, 5, 6, 7]


async def test_an_event_behind_a_gap_waits_for_those_in_the_gap(
    over_cells: Service, database: asyncpg.Connection
) -> None:
    reader = OutboxReader(over_cells.cells.engine_of(SKU), lease=60)
    await insert(database, [Numbered(1, SKU, 1), Numbered(3, SKU, 2), Numbered(2, SKU, 3)])

    assert numbers((await reader.read(ALL, 2)).rows, SKU) == [1]


async def test_a_page_behind_an_id_lacks_no_earlier_event_with_a_smaller_id(
    over_cells: Service, database: asyncpg.Connection
) -> None:
    """Between two pages, events may be committed in the range of the first."""
    reader = OutboxReader(over_cells.cells.engine_of(SKU), lease=60)
    await insert(database, [Numbered(5, SKU, 1), Numbered(20, SKU, 2)])

    assert numbers((await reader.read(ALL, 100, after=10)).rows, SKU) == [1]


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_the_ids_and_the_size_of_pages_each_subject_keeps_its_order(
    over_cells: Service, database: asyncpg.Connection, seed: int
) -> None:
    """An order and a SKU have one name, so both of their series are in one cell and partition."""
    chance = random.Random(seed)
    reader = OutboxReader(over_cells.cells.engine_of(SKU), lease=60)
    subjects = [name for name in in_each_cell("SKU", of_each=6) if schema_of_name(name) == schema_of_name(SKU)]
    ids = chance.sample(range(1, 10_000), 200)
    last: defaultdict[tuple[str, bool], int] = defaultdict(int)
    delivered: defaultdict[tuple[str, bool], list[int | None]] = defaultdict(list)
    pending = True
    while ids or pending:
        new = []
        for _ in range(min(len(ids), chance.randrange(40))):
            series = chance.choice(subjects), chance.random() < 0.7
            last[series] += 1
            subject, is_product = series
            number = last[series]
            new.append(Numbered(ids.pop(), subject, number if is_product else None, None if is_product else number))
        await insert(database, new)
        rows = (await reader.read(ALL, chance.choice([1, 2, 5, 20]), after=chance.choice([0, 0, 5000]))).rows
        # Not all are acknowledged, but those of one subject in their order.
        acknowledged = rows[: chance.randint(1, len(rows))] if rows else []
        for row in acknowledged:
            delivered[row.subject, row.sequence is not None].append(row.place if row.sequence is None else row.sequence)
        if acknowledged:
            await reader.delete([row.id for row in acknowledged])
        pending = await reader.pending() > 0

    assert sum(last.values()) == 200
    assert delivered == {series: list(range(1, number + 1)) for series, number in last.items()}


async def test_the_events_of_an_order_are_numbered_in_the_order_of_their_commits(
    over_cells: Service, database: asyncpg.Connection
) -> None:
    order_id, skus = "order-1", in_each_cell("SKU")[:2]
    lines = [OrderedLine(sku=sku, qty=1) for sku in skus]
    place = PlaceOrder(order_id=order_id, lines=lines)
    await play(over_cells.bus, *(CreateBatch(ref=f"batch-{sku}", sku=sku, qty=10) for sku in skus))
    await play(over_cells.bus, place, CancelOrder(order_id=order_id), place)
    schema = schema_of_name(order_id)
    stored = f"SELECT type, place FROM {schema}.events WHERE subject = $1 ORDER BY place"
    expected = [("order_placed.v1", 1), ("order_cancelled.v1", 2), ("order_placed.v1", 3)]
    assert [tuple(row) for row in await database.fetch(stored, order_id)] == expected
    of_products = "SELECT array_agg(DISTINCT place) FROM {schema}.events WHERE sequence IS NOT NULL"
    assert all(found in (None, [None]) for found in await in_all_cells(database, of_products))

    # As if a server with larger ids had written the second event.
    deleted = f"DELETE FROM {schema}.events WHERE subject = $1 AND place = 2 RETURNING id"
    event_id = await database.fetchval(deleted, order_id)
    await database.execute(f"DELETE FROM {schema}.outbox WHERE id = $1", event_id)
    await insert(database, [Numbered(event_id + 2**40, order_id, None, 2)])
    reader = OutboxReader(over_cells.cells.engine_of(order_id), lease=60)
    assert numbers((await reader.read(ALL, 100)).rows, order_id) == [1, 2, 3]
    assert numbers((await reader.read(ALL, 1)).rows, order_id) == [1]


async def test_ids_ascend_over_all_cells_even_if_a_server_has_another_range(
    over_cells: Service, database: asyncpg.Connection
) -> None:
    skus = in_each_cell("SKU")
    for number in range(3):
        # As after a move to a server whose range is below that of the server before.
        for schema in SCHEMAS:
            await database.execute(f"SELECT setval('{schema}.events_id_seq', {(5 - number) * 2**40})")
        for sku in skus:
            await play(over_cells.bus, CreateBatch(ref=f"batch-{sku}-{number}", sku=sku, qty=10))

    rows = " UNION ALL ".join(f"SELECT id, created_at FROM {schema}.events" for schema in SCHEMAS)
    ids = [row["id"] for row in await database.fetch(f"{rows} ORDER BY created_at")]
    milliseconds = [event_id >> 23 for event_id in ids]
    assert milliseconds == sorted(milliseconds)
    assert len(set(ids)) == 12
