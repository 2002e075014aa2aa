"""The overview counts what needs action."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Api, Json

PREPARE = (
    (
        "INSERT INTO events (shard, subject, sequence, type, data, correlation_id, causation_id, created_at)"
        " VALUES (0, 'Z', 1, 'line_allocated.v1', '{}', 'x', 'x', now() - interval '1 day')"
    ),
    (
        'INSERT INTO dead_letters (consumer, topic, partition, "offset", timestamp, headers, reason)'
        " VALUES ('c', 't', 0, 0, 0, '[]', 'r')"
    ),
    "UPDATE events SET created_at = now() - interval '1 minute' WHERE id = (SELECT min(id) FROM outbox)",
)
"""An allocation of yesterday, a dead letter, and an event that has waited for a minute."""


def exactly(count: int) -> Json:
    return {"count": count, "count_is_exact": True}


async def overview(api: Api) -> Json:
    answer = await api.client.get("/v1/overview")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def test_an_empty_service_needs_no_action(own: Api) -> None:
    found = await overview(own)
    time = datetime.fromisoformat(found.pop("time"))

    assert abs(datetime.now(UTC) - time) < timedelta(minutes=5)
    ages = dict.fromkeys(("under_1_day", "days_1_to_3", "days_3_to_7", "over_7_days"), exactly(0))
    names = ("low_stock", "sold_out", "late_batches", "held_lines", "allocations_today", "dead_letters")
    assert found == dict.fromkeys(names, exactly(0)) | {"backorders": ages, "outbox_age_seconds": 0}


async def test_counts_products_batches_holds_and_allocations(own: Api, own_engine: AsyncEngine) -> None:
    today = datetime.now(UTC).date()
    for sku, qty in (("A", 5), ("B", 5), ("C", 1)):
        await own.record(sku, qty)
    for days in (-1, 0, 1):
        await own.record("D", 1, eta=(today + timedelta(days=days)).isoformat())
    await own.watch("A", 6)
    # Held pieces are available for the reorder point, and not for an order.
    await own.watch("B", 5)
    await own.allocate("B", 5, hold_for=600)
    await own.order("C", 1)
    async with own_engine.begin() as connection:
        for statement in PREPARE:
            await connection.execute(text(statement))

    found = await overview(own)

    names = ("low_stock", "sold_out", "late_batches", "held_lines", "allocations_today", "dead_letters")
    assert [found[name] for name in names] == [exactly(count) for count in (1, 2, 1, 1, 1, 1)]
    assert 50 < found["outbox_age_seconds"] < 600
    assert (await own.client.head("/v1/overview")).status_code == 200


@pytest.mark.parametrize(
    ("hours", "bucket"),
    [
        (0, "under_1_day"),
        (23, "under_1_day"),
        (25, "days_1_to_3"),
        (71, "days_1_to_3"),
        (73, "days_3_to_7"),
        (167, "days_3_to_7"),
        (169, "over_7_days"),
    ],
)
async def test_counts_backorders_by_their_age(own: Api, own_engine: AsyncEngine, hours: int, bucket: str) -> None:
    await own.record("A", 1)
    await own.order("A", 2)
    await own.order("A", 1)
    async with own_engine.begin() as connection:
        statement = text("UPDATE order_lines SET placed_at = now() - make_interval(hours => :hours)")
        await connection.execute(statement, {"hours": hours})

    ages = (await overview(own))["backorders"]

    assert ages.pop(bucket) == exactly(1)
    assert list(ages.values()) == [exactly(0)] * 3
