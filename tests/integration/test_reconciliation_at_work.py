"""Reconciliation under traffic: no false reports, no more rows than a page at a time, and waits for locks."""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import REGISTRY

from app.adapters.postgresql.cells import schema_of
from app.adapters.postgresql.counted_sums import CountedProduct
from app.adapters.postgresql.messages import SHARDS
from app.adapters.postgresql.outbox_reader import OutboxReader
from app.adapters.postgresql.reconciliation import ReconciliationStore
from app.bootstrap import Service, bootstrap
from app.domain.commands import Allocate, CancelAllocation, ChangeBatchQuantity, Command, CreateBatch, HoldOrder
from app.entrypoints import components
from app.observability import metrics
from app.operations import reconciliation
from app.operations.reconciliation import Difference, Kind, Reconciliation
from app.service_layer.ports import TemporarilyUnavailableError
from app.settings import Settings
from tests.support.cells import in_one_cell, schema_of_name
from tests.support.database import play, raw_connection, results, waiting_for_a_lock
from tests.support.reconciling import sql
from tests.support.waiting import eventually

SKUS = sorted(in_one_cell("SKU", 7))


async def found(service: Service, *, repair: bool = False, page_size: int = 100) -> list[Difference]:
    walk = Reconciliation(service, repair=repair, page_size=page_size)
    return [difference async for difference in walk.differences()]


def counted(kind: Kind) -> float:
    """How many differences of a kind this process has counted."""
    return REGISTRY.get_sample_value("allocation_reconcile_differences_total", {"kind": kind}) or 0.0


def anything(chance: random.Random) -> Command:
    """A command that allocates, holds, frees or changes stock, on one of two SKUs."""
    sku, order = chance.choice(SKUS[:2]), f"order-{chance.randrange(60)}"
    return chance.choice(
        [
            Allocate(order_id=order, sku=sku, qty=chance.randint(1, 9)),
            Allocate(order_id=order, sku=sku, qty=chance.randint(1, 9)),
            Allocate(order_id=order, sku=sku, qty=chance.randint(1, 9), hold_for=1),
            HoldOrder(order_id=order, hold_for=1),
            CancelAllocation(order_id=order, sku=sku),
            ChangeBatchQuantity(ref=f"{sku}-{chance.randrange(3)}", qty=chance.randint(0, 30)),
        ]
    )


async def test_traffic_is_never_reported_as_a_difference(service: Service) -> None:
    chance = random.Random(4)
    await results(
        service.bus, *(CreateBatch(ref=f"{sku}-{number}", sku=sku, qty=20) for sku in SKUS for number in range(3))
    )
    walks = 0
    outbox = OutboxReader(service.cells.engine_of(SKUS[0]), lease=5)

    async def command() -> None:
        while walks < 40:
            await play(service.bus, *(anything(chance) for _ in range(chance.randint(1, 12))))

    async def publish() -> None:
        """Delete the first rows, as a relay does."""
        while walks < 40:
            rows = (await outbox.read(range(SHARDS), 25)).rows
            await outbox.delete([row.id for row in rows])

    async def walk() -> None:
        nonlocal walks
        while walks < 40:
            assert await found(service, repair=bool(walks % 2), page_size=3) == []
            walks += 1

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for work in (command, command, command, publish, walk):
            tasks.create_task(work())


async def test_differences_are_repaired_while_traffic_runs(service: Service) -> None:
    chance = random.Random(5)
    await results(
        service.bus, *(CreateBatch(ref=f"{sku}-{number}", sku=sku, qty=20) for sku in SKUS for number in range(3))
    )
    repaired = 0

    async def command() -> None:
        while repaired < 30:
            await play(service.bus, *(anything(chance) for _ in range(chance.randint(1, 4))))

    async def damage_and_repair() -> None:
        nonlocal repaired
        while repaired < 30:
            # The sums are only made larger, because traffic may subtract all that the lines hold. Locked as the service
            # locks, so that the two cannot deadlock.
            await sql(
                service,
                "SELECT FROM products ORDER BY sku FOR NO KEY UPDATE;"
                "UPDATE batches SET allocated_qty = least(qty - shipped_qty, allocated_qty + 1),"
                " held_qty = least(allocated_qty, held_qty + 1);"
                "UPDATE products SET backordered_qty = backordered_qty + 1, held_qty = held_qty + 1",
                cell_of=SKUS[0],
            )
            differences = await found(service, repair=True, page_size=3)
            assert all(difference.repaired for difference in differences)
            repaired += len(differences)

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for work in (command, command, damage_and_repair):
            tasks.create_task(work())

    assert await found(service) == []


async def test_no_more_rows_than_a_page_come_back_at_a_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    await results(
        service.bus, *(CreateBatch(ref=f"{sku}-{number}", sku=sku, qty=5) for sku in SKUS for number in range(5))
    )
    await sql(
        service,
        "UPDATE batches SET allocated_qty = 1; UPDATE products SET backordered_qty = 1;"
        f"DELETE FROM events WHERE subject = '{SKUS[0]}' AND sequence = 5;"
        "INSERT INTO events (shard, subject, sequence, message_id, type, data, correlation_id, causation_id)"
        "SELECT 0, 'LOST-' || n, 1, gen_random_uuid(), 't', '{}', 'c', 'c' FROM generate_series(1, 5) n",
        cell_of=SKUS[0],
    )
    sizes: list[int] = []
    read = ReconciliationStore._read

    async def measured(self: ReconciliationStore, *statement: Any, **arguments: Any) -> Sequence[Any]:
        rows = await read(self, *statement, **arguments)
        sizes.append(len(rows))
        return rows

    monkeypatch.setattr(ReconciliationStore, "_read", measured)
    seen = {page_size: await found(service, page_size=page_size) for page_size in (1, 2, 3, 100)}
    assert max(sizes) == 35 // 5 + 5
    sizes.clear()
    repaired = await found(service, repair=True, page_size=2)

    assert max(sizes) == 2
    assert seen[1] == seen[2] == seen[3] == seen[100]
    assert len(seen[1]) == 7 * 5 + 7 + 1 + 5
    assert [difference.text for difference in repaired] == [difference.text for difference in seen[1]]
    assert {difference.kind for difference in await found(service)} == {Kind.EVENTS_GAP, Kind.EVENTS_BEYOND}


async def test_a_page_that_is_too_large_for_one_statement_is_split(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await results(service.bus, *(CreateBatch(ref=sku, sku=sku, qty=5) for sku in SKUS))
    await sql(service, "UPDATE products SET backordered_qty = 1")
    limits: list[int] = []
    products = ReconciliationStore.products

    async def slow(self: ReconciliationStore, after: str, limit: int) -> list[CountedProduct]:
        if schema_of(self._engine) != schema_of_name(SKUS[0]):
            return await products(self, after, limit)
        limits.append(limit)
        if limit > 2 and after < SKUS[2]:
            raise TemporarilyUnavailableError("canceling statement due to statement timeout", timed_out=True)
        return await products(self, after, limit)

    monkeypatch.setattr(ReconciliationStore, "products", slow)

    assert [difference.sku for difference in await found(service, page_size=20)] == SKUS
    assert limits == [20, 5, 1, 2, 4, 8]


@pytest.mark.parametrize(
    ("damage", "undone"),
    [
        ("UPDATE batches SET allocated_qty = 2", "UPDATE batches SET allocated_qty = 0"),
        ("UPDATE products SET backordered_qty = 2", "UPDATE products SET backordered_qty = 0"),
    ],
)
async def test_a_difference_that_is_gone_once_the_lock_is_held_is_left_alone(
    service: Service, damage: str, undone: str
) -> None:
    await results(service.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=5))
    await sql(service, damage)
    async with raw_connection(service.settings.database_url.get_secret_value(), cell_of="CHAIR") as other:
        async with other.transaction():
            await other.execute("SELECT FROM products FOR NO KEY UPDATE")
            repairing = asyncio.create_task(found(service, repair=True))
            await waiting_for_a_lock(service.settings.database_url.get_secret_value())
            await other.execute(undone)

        assert await repairing == []


async def test_a_lock_that_is_held_for_long_is_retried(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.adapters.postgresql.connections.LOCK_TIMEOUT", 0.5)
    caplog.set_level(logging.DEBUG)

    async def refused() -> bool:
        return any("lock timeout" in message for message in caplog.messages)

    url = settings.database_url.get_secret_value()
    async with bootstrap(settings) as service, raw_connection(url, cell_of="CHAIR") as other:
        await results(service.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=5))
        await sql(service, "UPDATE batches SET allocated_qty = 2")
        async with other.transaction():
            await other.execute("SELECT FROM products FOR NO KEY UPDATE")
            repairing = asyncio.create_task(found(service, repair=True))
            await eventually(refused)

        assert [difference.repaired for difference in await repairing] == [True]


async def test_the_check_counts_warns_and_repairs_nothing(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    await results(service.bus, *(CreateBatch(ref=sku, sku=sku, qty=5) for sku in SKUS))
    await sql(service, "UPDATE batches SET allocated_qty = 2; DELETE FROM outbox")
    before = {kind: counted(kind) for kind in Kind}

    with caplog.at_level(logging.WARNING):
        await reconciliation.check(service)

    assert {kind: counted(kind) - before[kind] for kind in Kind} == dict.fromkeys(Kind, 0) | {Kind.ALLOCATED_QTY: 7}
    (warning,) = caplog.messages
    assert "differences of kind allocated_qty: 7" in warning
    assert len(await found(service)) == 7


async def test_a_process_looks_for_differences_at_intervals(settings: Settings) -> None:
    settings = settings.model_copy(update={"reconcile_interval": 0.02})
    async with bootstrap(settings) as service:
        await play(service.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=5))
        await sql(service, "UPDATE products SET backordered_qty = 1")
        before = counted(Kind.BACKORDERED_QTY)

        async def counted_twice() -> bool:
            return counted(Kind.BACKORDERED_QTY) >= before + 2

        async with components.running([components.housekeeping(service)]):
            await eventually(counted_twice)


async def test_every_kind_is_0_before_the_first_check(service: Service) -> None:
    """Otherwise a series begins at 1 with the first difference, and the alert sees no increase."""
    metrics.reconcile_differences.clear()

    async def shown() -> bool:
        name = "allocation_reconcile_differences_total"
        return {REGISTRY.get_sample_value(name, {"kind": kind}) for kind in Kind} == {0.0}

    async with components.running([components.housekeeping(service)]):
        await eventually(shown)


async def test_an_interval_of_0_turns_the_check_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    pruned = asyncio.Event()

    async def prune(*_: object) -> None:
        pruned.set()

    monkeypatch.setattr(components, "prune_inbox", prune)
    for interval, looks in ((0.0, False), (3600.0, True)):
        pruned.clear()
        async with (
            bootstrap(settings.model_copy(update={"reconcile_interval": interval})) as service,
            components.running([components.housekeeping(service)]),
        ):
            await asyncio.wait_for(pruned.wait(), 60)
            assert ("reconcile" in {task.get_name() for task in asyncio.all_tasks()}) == looks
