"""The relay with a backlog, dead rows and late commits: it does not read more rows, and loses none."""

import asyncio
import json
import math

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql import outbox_reader as outbox_module
from app.adapters.postgresql.messages import SHARDS
from app.adapters.postgresql.outbox_reader import OutboxReader
from app.adapters.postgresql.outbox_rows import READ
from app.entrypoints.kafka import publisher
from app.entrypoints.kafka import relay as relay_module
from app.entrypoints.kafka.relay_positions import Positions
from tests.support.cells import one_cell_only
from tests.support.database import raw_connection
from tests.support.records import FakeBroker
from tests.support.relaying import relaying, skus_of_partition, write
from tests.support.waiting import eventually

REFUSED_AGE = "allocation_outbox_refused_age_seconds"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "POLL_INTERVAL", 0.02)
    monkeypatch.setattr(relay_module, "LONGEST_BACKOFF", 0.001)
    monkeypatch.setattr(outbox_module, "HORIZON_INTERVAL", 0.02)
    # A read before the position counts as a read. On a slow machine the time for it comes during a test.
    monkeypatch.setattr(relay_module, "LOOK_BACK_INTERVAL", math.inf)


@one_cell_only("the relays of several cells read from the first row")
async def test_the_backlog_of_a_partition_that_refuses_is_not_read_again_for_the_others(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "FIRST_REFUSAL", 600.0)
    broker = FakeBroker()
    broker.refusing = {1}
    (refused,), (healthy,) = skus_of_partition(broker, 1, 1), skus_of_partition(broker, 2, 1)
    await write(engine, refused, 1, 100_000)
    written = 0

    async def publish_one() -> int:
        """How many rows are read until one more event of the healthy SKU is published."""
        nonlocal written
        written += 1
        before = reader.rows
        await write(engine, healthy, written)
        await eventually(is_published, seconds=30)
        return reader.rows - before

    async def is_published() -> bool:
        return broker.sequences(healthy)[-1:] == [written]

    async def is_past_the_backlog() -> bool:
        return await publish_one() < 10

    async with relaying(broker, engine, database_url) as reader:
        await eventually(is_past_the_backlog)
        for _ in range(20):
            assert await publish_one() < 10

    assert broker.sequences(healthy) == list(range(1, written + 1))
    assert broker.sequences(refused) == []


async def test_the_timeouts_of_a_silent_partition_do_not_delay_the_others(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its sends times out after a minute, and is retried at once."""
    monkeypatch.setattr(relay_module, "FIRST_REFUSAL", 0.001)
    monkeypatch.setattr(publisher, "SEND_TIMEOUT", 60.0)
    monkeypatch.setattr(publisher, "STRAGGLER_TIMEOUT", 0.1)
    broker = FakeBroker()
    broker.silent = {1}
    (silent,), (healthy,) = skus_of_partition(broker, 1, 1), skus_of_partition(broker, 2, 1)
    await write(engine, silent, 1, 10)
    await write(engine, healthy, 1)

    async def is_published() -> bool:
        return len(broker.sequences(healthy)) == number

    async with relaying(broker, engine, database_url):
        for number in range(1, 30):
            await eventually(is_published, seconds=30)
            await write(engine, healthy, number + 1)


async def test_a_partition_that_recovers_gets_its_backlog_in_order_before_newer_events(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "FIRST_REFUSAL", 0.01)
    monkeypatch.setattr(relay_module, "LONGEST_REFUSAL", 0.05)
    monkeypatch.setattr(relay_module, "READ_LIMIT", 50)
    broker = FakeBroker()
    broker.refusing = {0, 1}
    skus = skus_of_partition(broker, 0, 2) + skus_of_partition(broker, 1, 2) + skus_of_partition(broker, 2, 2)

    async def is_empty() -> bool:
        return await reader.pending() == 0

    async with relaying(broker, engine, database_url) as reader:
        for number in range(1, 100):
            await asyncio.gather(*(write(engine, sku, number) for sku in skus))
            if number == 50:
                broker.refusing = {0}
        broker.refusing = set()
        await eventually(is_empty)
    for sku in skus:
        assert list(dict.fromkeys(broker.sequences(sku))) == list(range(1, 100))


@pytest.mark.parametrize("way", ["reset", "go_back"])
async def test_a_partition_that_has_caught_up_is_published_whatever_changes_the_positions_before_it_is_taken_back(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A failure of the other partitions, or another share of the shards, resets the positions at any moment."""
    monkeypatch.setattr(relay_module, "FIRST_REFUSAL", 0.01)
    broker, changes, take_back = FakeBroker(), 0, Positions.take_back
    broker.refusing = {1}
    (refused,) = skus_of_partition(broker, 1, 1)

    def change_and_take_back(positions: Positions) -> None:
        nonlocal changes
        if any(refusal.has_caught_up for refusal in positions.refused.values()) and not changes:
            changes += 1
            positions.reset() if way == "reset" else positions.go_back((1, None), 0)
        take_back(positions)

    async def is_empty() -> bool:
        return await reader.pending() == 0

    monkeypatch.setattr(Positions, "take_back", change_and_take_back)
    async with relaying(broker, engine, database_url) as reader:
        await write(engine, refused, 1)
        await eventually(lambda: holds(REGISTRY.get_sample_value(REFUSED_AGE, {"partition": "1"}) is not None))
        broker.refusing = set()
        await eventually(lambda: holds(changes > 0))
        await write(engine, refused, 2)
        await eventually(is_empty)
    assert broker.sequences(refused) == [1, 2]


async def test_during_a_refusal_the_age_of_the_oldest_event_is_measured(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "FIRST_REFUSAL", 0.01)
    monkeypatch.setattr(relay_module, "LONGEST_REFUSAL", 0.05)
    broker = FakeBroker()
    broker.refusing = {1}
    (refused,) = skus_of_partition(broker, 1, 1)
    await write(engine, refused, 1)
    async with raw_connection(database_url) as connection:
        await connection.execute("UPDATE events SET created_at = created_at - interval '5 minutes'")

    def age() -> float | None:
        return REGISTRY.get_sample_value(REFUSED_AGE, {"partition": "1"})

    async def is_shown() -> bool:
        return (age() or 0) > 299 and (REGISTRY.get_sample_value("allocation_outbox_oldest_age_seconds") or 0) > 299

    async def is_gone() -> bool:
        return age() is None and REGISTRY.get_sample_value("allocation_outbox_oldest_age_seconds") == 0

    async with relaying(broker, engine, database_url):
        await eventually(is_shown)
        broker.refusing = set()
        await eventually(is_gone)


@one_cell_only("the relays of several cells read from the first row")
async def test_a_read_skips_dead_rows_that_a_long_snapshot_keeps(engine: AsyncEngine, database_url: str) -> None:
    async with raw_connection(database_url) as dump, raw_connection(database_url) as other:
        await dump.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox")
        await write(engine, "CHAIR", 1, 20_000)
        last = await other.fetchval("SELECT max(id) FROM outbox")
        await other.execute("DELETE FROM outbox")

        async with relaying(FakeBroker(), engine, database_url) as reader:

            async def has_moved_on() -> bool:
                return bool(reader.after >= last)

            await eventually(has_moved_on)

        async def buffers(after: int) -> int:
            """Pages that the read touches where it starts behind `after`."""
            statement = (
                READ.replace("$1", f"ARRAY{list(range(SHARDS))}").replace("$2", str(after)).replace("$3", "2000")
            )
            await other.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
            plan = await other.fetch(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, FORMAT JSON) {statement}")
            node = json.loads(plan[0][0])[0]["Plan"]
            return int(node["Shared Hit Blocks"]) + int(node["Shared Read Blocks"])

        assert await buffers(0) > 50, "the rows are dead, and still walked over"
        assert await buffers(reader.after) <= 10


@one_cell_only("the relays of several cells read from the first row")
async def test_a_row_before_a_wrong_position_is_found_later(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def too_far(_: object) -> int:
        return 10**9

    monkeypatch.setattr(OutboxReader, "settled", too_far)
    monkeypatch.setattr(relay_module, "LOOK_BACK_INTERVAL", 0.05)
    broker = FakeBroker()

    async def is_published() -> bool:
        return broker.sequences("CHAIR") == [1, 2]

    async with relaying(broker, engine, database_url) as reader:
        await eventually(lambda: holds(reader.after > 0))
        await write(engine, "CHAIR", 1, 2)
        await eventually(is_published)
    assert "before the position of partition" in caplog.text


async def holds(condition: bool) -> bool:
    return condition


async def test_events_that_are_committed_one_by_one_share_a_round(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "ROUND_INTERVAL", 3.0)
    broker = FakeBroker()
    async with relaying(broker, engine, database_url, cell_of="CHAIR") as reader:
        await write(engine, "CHAIR", 1)

        async def is_published() -> bool:
            return broker.sequences("CHAIR") == [1]

        await eventually(is_published)
        for sequence in range(2, 102):
            await write(engine, "CHAIR", sequence)

        async def are_published() -> bool:
            return broker.sequences("CHAIR") == list(range(1, 102))

        await eventually(are_published)
    # The first one has a round of its own. The rest may fall into two, on a machine that stops for a while.
    assert reader.deletes <= 3
