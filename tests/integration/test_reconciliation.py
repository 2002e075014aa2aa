"""Rows that were damaged outside the service: each kind of difference is found, and repaired if possible."""

from datetime import date

import pytest

from app.bootstrap import Service
from app.domain.commands import Allocate, CancelAllocation, ChangeBatchQuantity, Command, CreateBatch
from tests.support.database import play, raw_connection, results
from tests.support.reconciling import found, sql

STOCK: list[Command] = [
    CreateBatch(ref="old", sku="CHAIR", qty=10),
    CreateBatch(ref="new", sku="CHAIR", qty=4, eta=date(2030, 1, 1)),
    Allocate(order_id="order-1", sku="CHAIR", qty=7),
    Allocate(order_id="order-2", sku="CHAIR", qty=3),
    Allocate(order_id="order-3", sku="CHAIR", qty=2),
    Allocate(order_id="order-4", sku="CHAIR", qty=6),
    Allocate(order_id="order-5", sku="CHAIR", qty=5),
    CreateBatch(ref="table", sku="TABLE", qty=5),
    Allocate(order_id="order-1", sku="TABLE", qty=1),
]
"""Batch `old` is used up, `new` has 2 pieces left, and 11 are backordered. The sequence of CHAIR is 9."""


EVENTS = "INSERT INTO events (shard, subject, sequence, message_id, type, data, correlation_id, causation_id)"


@pytest.fixture
async def stocked(service: Service) -> Service:
    """The service with STOCK, and with the event of a refusal, which belongs to no product."""
    await results(service.bus, *STOCK)
    await play(service.bus, Allocate(order_id="order-1", sku="LAMP", qty=1))
    return service


async def sequences(service: Service, sku: str = "CHAIR") -> list[int]:
    """The sequences of the events, in the order of publication."""
    async with raw_connection(service.settings.database_url.get_secret_value()) as connection:
        rows = await connection.fetch("SELECT sequence FROM events WHERE subject = $1 ORDER BY id", sku)
        return [row["sequence"] for row in rows]


async def test_nothing_is_found_where_nothing_was_damaged(stocked: Service) -> None:
    assert await found(stocked) == []
    assert await found(stocked, repair=True) == []


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        pytest.param(
            "UPDATE batches SET allocated_qty = 9 WHERE ref = 'old'",
            "allocated_qty CHAIR: batch old has 9 allocated; its lines have 10 allocated",
            id="a-batch-with-too-small-a-sum",
        ),
        pytest.param(
            "UPDATE batches SET allocated_qty = 3 WHERE ref = 'new'",
            "allocated_qty CHAIR: batch new has 3 allocated; its lines have 2 allocated",
            id="a-batch-with-too-large-a-sum",
        ),
        pytest.param(
            "UPDATE products SET backordered_qty = 0 WHERE sku = 'CHAIR'",
            "backordered_qty CHAIR: the product has 0, its queued lines need 11",
            id="a-queue-with-too-small-a-sum",
        ),
        pytest.param(
            "UPDATE products SET backordered_qty = 2 WHERE sku = 'TABLE'",
            "backordered_qty TABLE: the product has 2, its queued lines need 0",
            id="a-queue-with-too-large-a-sum",
        ),
        pytest.param(
            "UPDATE batches SET qty = 8 WHERE ref = 'new'",
            "queue CHAIR: a line of 5 waits, and a batch has 6 available",
            id="a-queue-that-was-not-served",
        ),
    ],
)
async def test_a_difference_is_found_and_repaired(stocked: Service, damage: str, line: str) -> None:
    await sql(stocked, damage)

    assert await found(stocked) == [line]
    assert await found(stocked) == [line], "looking changes nothing"
    assert await found(stocked, repair=True) == [f"{line} (repaired)"]
    assert await found(stocked) == []


async def test_differences_that_hide_each_other_are_repaired_in_one_run(stocked: Service) -> None:
    await sql(
        stocked,
        """
        UPDATE batches SET qty = 9, allocated_qty = 9 WHERE ref = 'new';
        UPDATE products SET backordered_qty = 0 WHERE sku = 'CHAIR';
        UPDATE batches SET allocated_qty = 0 WHERE ref = 'table';
        """,
    )

    lines = await found(stocked, repair=True)

    assert lines == [
        "allocated_qty CHAIR: batch new has 9 allocated; its lines have 2 allocated (repaired)",
        "backordered_qty CHAIR: the product has 0, its queued lines need 11 (repaired)",
        "queue CHAIR: a line of 5 waits, and a batch has 7 available (repaired)",
        "allocated_qty TABLE: batch table has 0 allocated; its lines have 1 allocated (repaired)",
    ]
    assert await found(stocked) == []


async def test_the_queue_is_served_in_order_and_its_events_are_recorded(stocked: Service) -> None:
    await sql(stocked, "UPDATE batches SET qty = 10 WHERE ref = 'new'")

    await found(stocked, repair=True)

    product = await stocked.queries.product("CHAIR")
    (line,) = await stocked.queries.allocations("order-4")
    assert (line.status, line.batch_ref) == ("allocated", "new")
    assert (product.backordered_qty, product.available_qty) == (5, 2)
    assert await sequences(stocked) == list(range(1, 11))


async def test_an_oversold_batch_is_closed_and_the_advice_repairs_it(stocked: Service) -> None:
    # Two lines were put on the batch that never had the stock for them. One of three waits and could slip in between.
    await results(stocked.bus, Allocate(order_id="order-6", sku="CHAIR", qty=3))
    await sql(
        stocked,
        "UPDATE order_lines SET qty = qty + 2 WHERE batch_number = 1 AND sku = 'CHAIR';"
        "UPDATE batches SET allocated_qty = 6 WHERE ref = 'old'",
    )
    advice = (
        " of 10 pieces, which cannot be repaired automatically: PATCH it to a qty of 28 or more,"
        " run reconcile --repair, then PATCH it to the actual qty"
    )

    assert await found(stocked) == [
        f"allocated_qty CHAIR: batch old has 6 allocated; its lines have 14 allocated{advice}"
    ]
    assert await found(stocked, repair=True) == [
        f"allocated_qty CHAIR: batch old has 6 allocated; its lines have 14 allocated{advice}"
    ]
    assert (await stocked.queries.batch("old")).available_qty == 0
    assert await found(stocked) == [
        f"allocated_qty CHAIR: batch old has 10 allocated; its lines have 14 allocated{advice}"
    ]

    await results(stocked.bus, ChangeBatchQuantity(ref="old", qty=28))
    assert [line.endswith("(repaired)") for line in await found(stocked, repair=True)] == [True]
    await results(stocked.bus, ChangeBatchQuantity(ref="old", qty=10))

    assert await found(stocked) == []
    batch = await stocked.queries.batch("old")
    assert (batch.qty, batch.allocated_qty) == (10, 9)
    assert await sequences(stocked) == list(range(1, len(await sequences(stocked)) + 1))


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        pytest.param(
            "DELETE FROM events WHERE subject = 'CHAIR' AND sequence IN (3, 5)",
            "events_gap CHAIR: of the events 1 to 9, 2 are missing",
            id="lost-from-the-middle",
        ),
        pytest.param(
            "DELETE FROM events WHERE subject = 'CHAIR' AND (sequence < 4 OR sequence = 9)",
            "events_gap CHAIR: of the events 4 to 9, 1 are missing",
            id="the-last-lost",
        ),
        pytest.param(
            "UPDATE products SET sequence = 7 WHERE sku = 'CHAIR'",
            "events_beyond CHAIR: there are 2 events up to 9, the sequence of the product is 7",
            id="a-clock-set-back",
        ),
        pytest.param(
            f"{EVENTS} VALUES (0, 'SHELF', 1, gen_random_uuid(), 't', '{{}}', 'c', 'c')",
            "events_beyond SHELF: there are numbered events without a product",
            id="no-product",
        ),
    ],
)
async def test_events_that_do_not_follow_each_other_are_reported_and_left_alone(
    stocked: Service, damage: str, line: str
) -> None:
    await sql(stocked, damage)

    assert await found(stocked) == [line]
    assert await found(stocked, repair=True) == [line]


async def test_events_from_before_the_history_are_not_reported_as_missing(stocked: Service) -> None:
    await sql(stocked, "DELETE FROM events WHERE subject = 'CHAIR' AND sequence < 6")
    assert await found(stocked) == []
    await sql(stocked, "DELETE FROM events")
    assert await found(stocked) == []


async def test_a_repaired_product_still_works(stocked: Service) -> None:
    await sql(stocked, "UPDATE products SET backordered_qty = 0; UPDATE batches SET allocated_qty = 0")
    await found(stocked, repair=True)

    await results(
        stocked.bus,
        CancelAllocation(order_id="order-1", sku="CHAIR"),
        CancelAllocation(order_id="order-1", sku="TABLE"),
        ChangeBatchQuantity(ref="new", qty=0),
    )

    assert await found(stocked) == []
