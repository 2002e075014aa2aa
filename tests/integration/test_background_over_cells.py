"""What runs in the background works in all cells of a database."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.adapters.kafka import clients
from app.adapters.postgresql.backlog_counts import BacklogCounts, SnapshotWatch, count_backlog
from app.adapters.postgresql.inspection import backlog_of, first_events
from app.adapters.postgresql.notifier_memory import NotifierMemory
from app.bootstrap import Service
from app.entrypoints import components
from app.entrypoints.kafka import relay as relay_module
from app.operations import dead_letters
from app.operations.hold_sweeper import HoldSweeper
from app.service_layer.messagebus import MessageBus
from app.service_layer.notifications import NotifiedProduct
from app.service_layer.ports import UnitOfWork
from app.service_layer.requests import Outcome, Request
from tests.support.four_cells import CELLS, SCHEMAS, in_all_cells, in_each_cell, insert_product
from tests.support.records import FakeBroker
from tests.support.relaying import relaying_over_cells, write
from tests.support.waiting import eventually

SKUS = in_each_cell("SKU", of_each=3)
ROWS = """
    INSERT INTO {schema}.inbox (message_id, received_at) VALUES ('{age}', now() - interval '{age}');
    INSERT INTO {schema}.idempotency_keys (principal, key, fingerprint, status, headers, body, created_at)
    VALUES ('', '{age}', '', 200, '[]', '', now() - interval '{age}');
    INSERT INTO {schema}.carts (cart_id, currency, version, status, changed_on)
    VALUES ('{age}', 'EUR', 1, 'open', now() - interval '{age}');
    INSERT INTO {schema}.commit_tokens
    VALUES (gen_random_uuid(), gen_random_uuid(), now() - interval '{age}')
"""


async def is_empty(database: asyncpg.Connection) -> bool:
    return await in_all_cells(database, "SELECT count(*) FROM {schema}.outbox") == [0] * 4


async def write_events(over_cells: Service, first: int, last: int) -> None:
    for sku in SKUS:
        await write(over_cells.cells.engine_of(sku), sku, first, last)


def first_deliveries(broker: FakeBroker, sku: str) -> list[int]:
    return list(dict.fromkeys(broker.sequences(sku)))


async def test_two_relays_share_each_cell_and_publish_the_events_of_each_sku_in_order(
    over_cells: Service, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "POLL_INTERVAL", 0.05)
    broker = FakeBroker()
    await write_events(over_cells, 1, 4)
    async with relaying_over_cells(over_cells, broker), relaying_over_cells(over_cells, broker):

        async def both_have_half() -> bool:
            owners = "SELECT array_agg(n) FROM (SELECT count(*) AS n FROM {schema}.relay_shards GROUP BY owner) AS o"
            return await in_all_cells(database, owners) == [[8, 8]] * 4

        await eventually(both_have_half)
        await write_events(over_cells, 5, 9)
        await eventually(lambda: is_empty(database))

    assert {sku: first_deliveries(broker, sku) for sku in SKUS} == {sku: list(range(1, 10)) for sku in SKUS}
    assert broker.producers == broker.stopped == 2, "the cells of a process share a producer"


async def test_a_partition_that_refuses_delays_no_other_one_and_its_events_keep_their_order(
    over_cells: Service, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "POLL_INTERVAL", 0.05)
    monkeypatch.setattr(relay_module, "FIRST_REFUSAL", 0.01)
    monkeypatch.setattr(relay_module, "LONGEST_REFUSAL", 0.05)
    broker = FakeBroker(partitions=6)
    broker.refusing = {0}
    await write_events(over_cells, 1, 4)
    async with relaying_over_cells(over_cells, broker):

        async def only_the_refused_wait() -> bool:
            waiting = [event.subject for event in await first_events(over_cells.cells.engines)]
            return 0 < len(waiting) < len(SKUS) and not any(broker.sequences(sku) for sku in waiting)

        await eventually(only_the_refused_wait)
        broker.refusing.clear()
        await write_events(over_cells, 5, 6)
        await eventually(lambda: is_empty(database))

    assert {sku: first_deliveries(broker, sku) for sku in SKUS} == {sku: list(range(1, 7)) for sku in SKUS}
    assert broker.stopped == broker.producers


async def test_a_signal_wakes_the_relay_of_each_cell(
    over_cells: Service, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "POLL_INTERVAL", 600.0)
    broker = FakeBroker()
    monkeypatch.setattr(clients, "create_topics", _nothing)
    monkeypatch.setattr(clients, "describe_topics", _no_topics)
    monkeypatch.setattr(clients, "start_producer", lambda _: broker.start_producer())
    patient = dataclasses.replace(over_cells, settings=over_cells.settings.model_copy(update={"relay_lease": 3000.0}))
    async with components.running([components.relay(patient)]):
        for number in (1, 2):
            await write_events(over_cells, number, number)
            over_cells.signal()
            await eventually(lambda: is_empty(database))


async def _nothing(*_: object) -> None:
    pass


async def _no_topics(*_: object) -> tuple[int, dict[str, Any]]:
    return 1, {}


async def test_the_backlog_is_that_of_all_cells(over_cells: Service, database: asyncpg.Connection) -> None:
    await write_events(over_cells, 1, 2)
    for number, sku in enumerate(SKUS[:4], start=1):
        await insert_product(database, sku, backordered_qty=1, earliest_hold_end=_ago(hours=number))
        await database.execute(
            f"INSERT INTO {SCHEMAS[CELLS.of(sku)]}.order_lines (order_id, sku, qty, requested) VALUES ('o', $1, 1, 1)",
            sku,
        )
    await _add_letter(database)

    backlog = await backlog_of(over_cells.cells.all_engines)
    assert (backlog.pending, backlog.dead_letters, backlog.held_lines) == (2 * len(SKUS), 1, 0)
    assert backlog.oldest_seconds is not None
    counts = await count_backlog(over_cells.cells.all_engines)
    assert dataclasses.replace(counts, overdue_hold_age=0) == BacklogCounts(4, 1, 0, 0)
    assert counts.overdue_hold_age == pytest.approx(4 * 3600, abs=60)
    held = await SnapshotWatch(over_cells.cells.engines).look()
    assert held.dead_rows >= 0


def _ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


async def _add_letter(database: asyncpg.Connection) -> None:
    await database.execute(
        'INSERT INTO control.dead_letters (consumer, topic, partition, "offset", timestamp, headers, reason)'
        " VALUES ('c', 't', 0, 7, 0, '[]', 'no JSON')"
    )


async def test_dead_letters_and_what_the_notifier_has_read_belong_to_no_cell(
    over_cells: Service, database: asyncpg.Connection
) -> None:
    await _add_letter(database)
    assert [[letter.offset for letter in page] async for page in dead_letters.summaries(over_cells)] == [[7]]
    assert [letter async for letter in dead_letters.discard(over_cells, [1])] == [1]
    assert await database.fetchval("SELECT count(*) FROM control.dead_letters") == 0

    memory = NotifierMemory(over_cells.cells.control)
    products = [NotifiedProduct(sku, 3, out_of_stock=True) for sku in SKUS]
    await memory.save(products, {"ref": 5})
    assert await memory.load(SKUS, ["ref"]) == ({each.sku: each for each in products}, {"ref": 5})


async def test_housekeeping_prunes_each_cell(over_cells: Service, database: asyncpg.Connection) -> None:
    for schema in SCHEMAS:
        for age in ("1 year", "1 minute"):
            await database.execute(ROWS.format(schema=schema, age=age))

    async def each_has_the_new_rows_only() -> bool:
        numbers = [
            await in_all_cells(database, f"SELECT count(*) FROM {{schema}}.{table}")
            for table in ("inbox", "idempotency_keys", "carts", "commit_tokens")
        ]
        return numbers == [[1] * 4] * 4

    async with components.running([components.housekeeping(over_cells)]):
        await eventually(each_has_the_new_rows_only)


def fail(_: int) -> UnitOfWork:
    raise AssertionError


class NotingBus(MessageBus):
    """Notes the SKUs of each group."""

    def __init__(self) -> None:
        super().__init__(fail, ())
        self.groups: list[list[str]] = []

    async def run_shared(self, group: Sequence[Request]) -> list[Outcome]:
        if group:
            self.groups.append([request.command.routing_key for request in group])
        return [Outcome() for _ in group]


async def test_the_sweeper_finds_overdue_and_expired_products_in_all_cells_in_groups_of_one_cell(
    over_cells: Service, database: asyncpg.Connection
) -> None:
    overdue, expired = SKUS[:8], SKUS[8:]
    for sku in overdue:
        await insert_product(database, sku, earliest_hold_end=_ago(minutes=1))
    for sku in expired:
        await insert_product(database, sku, next_expiry=_ago(days=2).date())
    bus = NotingBus()

    assert await HoldSweeper(dataclasses.replace(over_cells, bus=bus)).sweep()

    assert sorted(sku for group in bus.groups for sku in group) == sorted(SKUS)
    assert all(len({CELLS.of(sku) for sku in group}) == 1 for group in bus.groups)


async def test_a_cell_that_cannot_be_swept_does_not_affect_the_others(
    over_cells: Service, database: asyncpg.Connection
) -> None:
    for sku in SKUS:
        await insert_product(database, sku, earliest_hold_end=_ago(minutes=1))
    await database.execute("ALTER TABLE cell_1.products RENAME TO away")
    bus = NotingBus()

    await HoldSweeper(dataclasses.replace(over_cells, bus=bus)).sweep()

    swept = {CELLS.of(sku) for group in bus.groups for sku in group}
    assert swept == {0, 2, 3}
