"""Concurrent units of work, as in several processes: no caller gets an error, and each effect happens once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import create_engine
from app.domain.commands import (
    Allocate,
    CancelAllocation,
    ChangeBatchQuantity,
    Command,
    CountBatch,
    CountProduct,
    CreateBatch,
    ShipLine,
)
from app.domain.errors import ProductNotFoundError
from app.service_layer.lock_sets import LockSet
from app.service_layer.messagebus import MessageBus
from app.service_layer.requests import Request, RetryPolicy
from tests.support.cells import queries_over
from tests.support.database import (
    CAUSE,
    bus_over,
    labels,
    play,
    raw_connection,
    results,
    unit_of_work,
    waiting_for_a_lock,
)
from tests.support.messages import Pauses, received

ROUNDS = 15


@pytest.fixture
async def processes(database_url: str) -> AsyncIterator[list[MessageBus]]:
    """Four buses, each over connections of its own."""
    engines = [create_engine(database_url, pool_size=2) for _ in range(4)]
    yield [bus_over(engine) for engine in engines]
    for engine in engines:
        await engine.dispose()


async def at_once(processes: list[MessageBus], *commands: Command) -> list[str]:
    """Run each command in a process of its own; return the outcomes."""
    plays = (play(processes[number % len(processes)], command) for number, command in enumerate(commands))
    return [label for outcomes in await asyncio.gather(*plays) for label in labels(outcomes)]


async def test_two_first_batches_of_a_new_sku_are_both_recorded(
    processes: list[MessageBus], engine: AsyncEngine
) -> None:
    for number in range(ROUNDS):
        sku = f"SKU-{number}"
        refs = [f"batch-{number}-{process}" for process in range(4)]

        outcomes = await at_once(processes, *(CreateBatch(ref=ref, sku=sku, qty=1) for ref in refs))

        assert outcomes == ["ok"] * 4
        assert {batch.ref for batch in (await queries_over(engine).product(sku)).batches} == set(refs)


async def test_a_ref_that_two_skus_claim_at_once_goes_to_one_of_them(
    processes: list[MessageBus], engine: AsyncEngine
) -> None:
    for number in range(ROUNDS):
        skus = [f"SKU-{number}-{process}" for process in range(4)]

        outcomes = await at_once(processes, *(CreateBatch(ref=f"batch-{number}", sku=sku, qty=1) for sku in skus))

        assert sorted(outcomes) == ["batch-conflict", "batch-conflict", "batch-conflict", "ok"]
        owner = (await queries_over(engine).batch(f"batch-{number}")).sku
        assert outcomes[skus.index(owner)] == "ok"
        for sku in set(skus) - {owner}:
            with pytest.raises(ProductNotFoundError):
                await queries_over(engine).product(sku)


async def test_products_made_for_refused_batches_leave_no_row(
    processes: list[MessageBus], engine: AsyncEngine, database_url: str
) -> None:
    await at_once(processes, *(CreateBatch(ref="batch-1", sku=f"SKU-{number}", qty=1) for number in range(8)))
    async with unit_of_work(engine) as uow:
        pair = ("batch-2", "CHAIR")
        await uow.products.load(LockSet(skus={"CHAIR"}, batch_refs={"batch-2"}, batches_to_create={pair}))
        await uow.commit()

    async with raw_connection(database_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM products") == 1


async def test_a_ref_that_another_sku_takes_while_we_wait_for_our_product_is_a_conflict(
    processes: list[MessageBus], database_url: str
) -> None:
    await play(processes[0], CreateBatch(ref="first", sku="TABLE", qty=1))
    async with raw_connection(database_url, cell_of="TABLE") as connection:
        async with connection.transaction():
            await connection.execute("SELECT FROM products WHERE sku = 'TABLE' FOR UPDATE")
            waiting = asyncio.create_task(play(processes[1], CreateBatch(ref="wanted", sku="TABLE", qty=1)))
            await waiting_for_a_lock(database_url)
            await play(processes[2], CreateBatch(ref="wanted", sku="CHAIR", qty=1))

        assert labels(await waiting) == ["batch-conflict"]


async def test_the_same_batch_recorded_at_once_is_recorded_once(
    processes: list[MessageBus], engine: AsyncEngine
) -> None:
    for number in range(ROUNDS):
        command = CreateBatch(ref=f"batch-{number}", sku=f"SKU-{number}", qty=1)

        answers = await asyncio.gather(*(results(bus, command) for bus in processes))

        assert sorted(recorded.created for (recorded,) in answers) == [False, False, False, True]


async def test_the_same_line_fifty_times_at_once_is_one_line(processes: list[MessageBus], engine: AsyncEngine) -> None:
    await play(processes[0], CreateBatch(ref="batch-1", sku="CHAIR", qty=100))
    line = Allocate(order_id="order-1", sku="CHAIR", qty=2)

    answers = await asyncio.gather(*(results(processes[number % 4], line) for number in range(50)))

    assert sum(accepted.changed for (accepted,) in answers) == 1
    assert (await queries_over(engine).batch("batch-1")).allocated_qty == 2


async def test_no_piece_is_sold_twice(processes: list[MessageBus], engine: AsyncEngine) -> None:
    await play(processes[0], CreateBatch(ref="batch-1", sku="CHAIR", qty=20))
    lines = [Allocate(order_id=f"order-{number}", sku="CHAIR", qty=1, if_unavailable="reject") for number in range(40)]

    outcomes = await at_once(processes, *lines)

    assert (outcomes.count("ok"), outcomes.count("out-of-stock")) == (20, 20)
    assert (await queries_over(engine).batch("batch-1")).available_qty == 0


async def test_a_count_that_races_shipments_has_the_same_result_in_any_order(
    processes: list[MessageBus], engine: AsyncEngine
) -> None:
    """The counter saw 6 lines of 2 pieces leave, and 25 pieces in the warehouse. The service learns it in any order."""
    for number in range(ROUNDS):
        ref, sku = f"batch-{number}", f"SKU-{number}"
        await play(processes[0], CreateBatch(ref=ref, sku=sku, qty=40))
        lines = [Allocate(order_id=f"order-{number}-{line}", sku=sku, qty=2) for line in range(8)]
        await play(processes[0], *lines)
        shipments: list[Command] = [ShipLine(order_id=line.order_id, sku=sku) for line in lines[:6]]
        count = CountBatch(ref=ref, on_hand_qty=25, shipped_qty=12)
        place = number % 7

        outcomes = await at_once(processes, *shipments[:place], count, *shipments[place:], count)

        assert outcomes == ["ok"] * 8
        batch = await queries_over(engine).batch(ref)
        assert (batch.qty, batch.shipped_qty, batch.allocated_qty, batch.available_qty) == (37, 12, 4, 21)


async def test_counts_of_one_product_at_once_change_it_once(processes: list[MessageBus], engine: AsyncEngine) -> None:
    for number in range(ROUNDS):
        sku = f"SKU-{number}"
        counts = [CountProduct(sku=sku, on_hand_qty=5, expected_on_hand_qty=0) for _ in range(8)]

        assert await at_once(processes, *counts) == ["ok"] * 8
        assert [batch.qty for batch in (await queries_over(engine).product(sku)).batches] == [5]


async def test_allocations_that_race_a_cut_lose_no_line_and_oversell_nothing(
    processes: list[MessageBus], engine: AsyncEngine, database_url: str
) -> None:
    await play(processes[0], CreateBatch(ref="batch-1", sku="CHAIR", qty=10))
    story: list[Command] = []
    for number in range(24):
        story.append(Allocate(order_id=f"order-{number}", sku="CHAIR", qty=1))
        if number % 4 == 3:
            story.append(ChangeBatchQuantity(ref="batch-1", qty=(5, 9)[number % 8 == 3]))
            story.append(CancelAllocation(order_id=f"order-{number - 3}", sku="CHAIR"))

    outcomes = await at_once(processes, *story)

    assert set(outcomes) <= {"ok", "allocation-not-found"}
    cancelled = sum(
        outcome == "ok" and isinstance(command, CancelAllocation)
        for command, outcome in zip(story, outcomes, strict=True)
    )
    product = await queries_over(engine).product("CHAIR")
    assert product.allocated_qty + product.backordered_qty == 24 - cancelled
    assert product.available_qty == 0 or not product.backordered_qty
    async with raw_connection(database_url) as connection:
        held = await connection.fetchval("SELECT sum(qty) FROM order_lines WHERE batch_number IS NOT NULL")
        sequences = [row[0] for row in await connection.fetch("SELECT sequence FROM events ORDER BY id")]
    assert held == product.allocated_qty
    assert sequences == list(range(1, len(sequences) + 1))


async def test_messages_that_two_consumers_hold_at_once_take_effect_once(processes: list[MessageBus]) -> None:
    await play(processes[0], *(CreateBatch(ref=f"batch-{n}", sku=f"SKU-{n}", qty=100) for n in range(5)))
    for round_number in range(ROUNDS):
        requests = [
            Request(
                Allocate(order_id=f"order-{round_number}", sku=f"SKU-{number}", qty=1),
                CAUSE,
                received(f"message-{round_number}-{number}"),
            )
            for number in range(5)
        ]

        groups = await asyncio.gather(
            processes[0].handle_group(requests),
            processes[1].handle_group(requests[::-1]),
            processes[2].handle_group(requests[2:]),
        )

        outcomes = [outcome for group in groups for outcome in group]
        assert sorted(labels(outcomes)) == ["duplicate"] * 8 + ["ok"] * 5
        assert sum(outcome.result.changed for outcome in outcomes if not outcome.duplicate) == 5


async def test_groups_that_name_the_same_products_in_any_order_do_not_deadlock(database_url: str) -> None:
    pauses = Pauses()
    engines = [create_engine(database_url, pool_size=1) for _ in range(2)]
    forth, back = (bus_over(engine, RetryPolicy(sleep=pauses)) for engine in engines)
    skus = [f"SKU-{number:02}" for number in range(30)]
    await play(forth, *(CreateBatch(ref=f"batch-{sku}", sku=sku, qty=100) for sku in skus))

    for number in range(ROUNDS):
        commands = [Allocate(order_id=f"order-{number}", sku=sku, qty=1) for sku in skus]
        await asyncio.gather(results(forth, *commands), results(back, *commands[::-1]))

    assert pauses.seconds == []
    for engine in engines:
        await engine.dispose()


async def test_consumers_that_hold_the_same_messages_in_any_order_do_not_deadlock(
    engine: AsyncEngine, database_url: str
) -> None:
    ids = [f"message-{number:02}" for number in range(20)]

    async def accept(message_ids: list[str]) -> int:
        async with unit_of_work(engine) as uow:
            known = await uow.inbox.accept([received(each) for each in message_ids])
            await uow.commit()
            return len(message_ids) - len(known)

    async with raw_connection(database_url, cell_of=received("").routing_key) as third:
        transaction = third.transaction()
        await transaction.start()
        await third.execute("INSERT INTO inbox (message_id) VALUES ('message-10')")
        # Both run until they wait for the third one's lock.
        both = [asyncio.create_task(accept(each)) for each in (ids, ids[::-1])]
        await waiting_for_a_lock(database_url, 2)
        await transaction.rollback()
        accepted = await asyncio.gather(*both)

    assert sorted(accepted) == [0, 20]
