"""Old events move to a file and back; nothing is lost wherever it is interrupted."""

import gzip
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql import event_archives
from app.adapters.postgresql.event_archives import Archive, EventArchives
from app.bootstrap import bootstrap
from app.domain.commands import Allocate, CreateBatch
from app.operations import archive
from app.operations.archive import ArchiveError
from app.operations.reconciliation import Reconciliation
from app.read_model.history import History
from app.read_model.reader import Reader
from app.service_layer.messagebus import MessageBus
from app.settings import Settings
from tests.support.cells import CELLS, cells_of
from tests.support.database import raw_connection, results

DAY = date(2001, 1, 1)
LATER = date(2002, 1, 1)


@pytest.fixture
def archives(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> EventArchives:
    """Archives in pages of two events."""
    monkeypatch.setattr(event_archives, "PAGE", 2)
    monkeypatch.setattr(archive, "PAGE", 2)
    return EventArchives(cells_of(engine))


async def sell(bus: MessageBus, database_url: str, *, on: date, orders: Sequence[str], publish: bool = True) -> None:
    """Sell chairs and a table on that day."""
    async with raw_connection(database_url) as connection:
        began = await connection.fetchval("SELECT clock_timestamp()")
        batch = CreateBatch(ref=f"batch-{orders[0]}", sku="CHAIR", qty=10)
        await results(bus, batch, *(Allocate(order_id=order_id, sku="CHAIR", qty=1) for order_id in orders))
        await results(bus, CreateBatch(ref=f"table-{orders[0]}", sku="TABLE", qty=1))
        statement = "UPDATE events SET created_at = $1::date AT TIME ZONE 'UTC' WHERE created_at >= $2"
        await connection.execute(statement, on, began)
        if publish:
            await connection.execute("DELETE FROM outbox")


async def stored(database_url: str) -> list[asyncpg.Record]:
    """The events by their days. With several cells, ids have an order in each cell only."""
    async with raw_connection(database_url) as connection:
        rows: list[asyncpg.Record] = await connection.fetch(
            "SELECT * FROM events ORDER BY created_at, subject, sequence"
        )
        return rows


async def test_old_events_move_to_a_file_and_come_back_as_they_were(
    archives: EventArchives, engine: AsyncEngine, bus: MessageBus, database_url: str, tmp_path: Path
) -> None:
    await sell(bus, database_url, on=date(2000, 12, 31), orders=["order-1", "order-2"])
    await sell(bus, database_url, on=DAY, orders=["order-3"])
    before = await stored(database_url)
    file = tmp_path / "2000.ndjson.gz"

    made = await archive.create(archives, file, DAY)

    assert made is not None
    assert made.events == 4
    old = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    events = [("CHAIR", 1), ("CHAIR", 2), ("CHAIR", 3), ("TABLE", 1)]
    # One cell after another.
    assert [(each["subject"], each["sequence"]) for each in old] == sorted(events, key=lambda event: CELLS.of(event[0]))
    assert await stored(database_url) == before[4:]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    page = await History(Reader(cells_of(engine))).page("CHAIR", limit=10, cursor=None)
    assert ([entry.sequence for entry in page.items], page.count) == ([5, 4], 2)
    assert page.archived_before is not None
    assert page.archived_before.date() == DAY

    await results(bus, Allocate(order_id="order-4", sku="CHAIR", qty=1))
    restored = await archive.restore(archives, file)

    assert restored.events == 4
    assert (await stored(database_url))[:-1] == before
    page = await History(Reader(cells_of(engine))).page("CHAIR", limit=10, cursor=None)
    assert ([entry.sequence for entry in page.items], page.archived_before) == ([6, 5, 4, 3, 2, 1], None)
    assert await archives.archives() == []


async def test_products_whose_events_are_all_archived_are_consistent_and_go_on(
    archives: EventArchives, engine: AsyncEngine, bus: MessageBus, database_url: str, tmp_path: Path
) -> None:
    await sell(bus, database_url, on=date(2000, 12, 31), orders=["order-1"])
    await archive.create(archives, tmp_path / "2000.ndjson.gz", DAY)

    page = await History(Reader(cells_of(engine))).page("TABLE", limit=10, cursor=None)
    assert (page.items, page.count) == ([], 0)
    assert page.archived_before is not None
    settings = Settings(_env_file=None, auth="none", database_url=SecretStr(database_url))
    async with bootstrap(settings) as service:
        assert [each.line async for each in Reconciliation(service, repair=False).differences()] == []
        await results(bus, Allocate(order_id="order-2", sku="CHAIR", qty=1))
        assert [each.line async for each in Reconciliation(service, repair=False).differences()] == []
    assert [event["sequence"] for event in await stored(database_url)] == [3]


async def test_a_run_that_was_interrupted_is_finished_by_the_next_one(
    archives: EventArchives,
    bus: MessageBus,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await sell(bus, database_url, on=date(2000, 12, 31), orders=["order-1"])
    before = await stored(database_url)

    async def stop(*_: object) -> None:
        raise ConnectionError

    for step in ("note", "delete"):
        with monkeypatch.context() as patch:
            patch.setattr(archives, step, stop)
            with pytest.raises(ConnectionError):
                await archive.create(archives, tmp_path / f"{step}.ndjson.gz", DAY)
        assert await stored(database_url) == before
    assert [made.file for made in await archives.archives()] == ["delete.ndjson.gz"]

    assert await archive.create(archives, tmp_path / "again.ndjson.gz", DAY) is None

    assert await stored(database_url) == []
    await archive.restore(archives, tmp_path / "delete.ndjson.gz")
    assert await stored(database_url) == before


async def test_a_restore_that_was_interrupted_can_be_repeated(
    archives: EventArchives, bus: MessageBus, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sell(bus, database_url, on=date(2000, 12, 31), orders=["order-1"])
    before = await stored(database_url)
    file = tmp_path / "2000.ndjson.gz"
    await archive.create(archives, file, DAY)

    async def stop(_: Archive) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(archives, "forget", stop)
        with pytest.raises(ConnectionError):
            await archive.restore(archives, file)

    await archive.restore(archives, file)
    assert await stored(database_url) == before


async def test_the_newest_archive_is_restored_first(
    archives: EventArchives, bus: MessageBus, database_url: str, tmp_path: Path
) -> None:
    for day, order_id, before in ((date(2000, 12, 31), "order-1", DAY), (DAY, "order-2", LATER)):
        await sell(bus, database_url, on=day, orders=[order_id])
        await archive.create(archives, tmp_path / str(before), before)

    with pytest.raises(ArchiveError, match="restore 2002-01-01 first"):
        await archive.restore(archives, tmp_path / "2001-01-01")

    for name in ("2002-01-01", "2001-01-01"):
        await archive.restore(archives, tmp_path / name)
    assert [(each["subject"], each["sequence"]) for each in await stored(database_url)] == [
        ("CHAIR", 1),
        ("CHAIR", 2),
        ("TABLE", 1),
        ("CHAIR", 3),
        ("CHAIR", 4),
        ("TABLE", 2),
    ]


async def test_an_event_of_an_earlier_time_behind_a_later_one_stays(
    archives: EventArchives, bus: MessageBus, database_url: str, tmp_path: Path
) -> None:
    """`advance-clocks` inserts old events after newer ones."""
    await sell(bus, database_url, on=DAY, orders=["order-1"])
    await sell(bus, database_url, on=date(2000, 12, 31), orders=["order-2"])

    assert await archive.create(archives, tmp_path / "2000.ndjson.gz", DAY) is None

    assert len(await stored(database_url)) == 6
    assert list(tmp_path.iterdir()) == []


async def test_what_cannot_be_archived_or_restored_is_left_alone(
    archives: EventArchives, bus: MessageBus, database_url: str, tmp_path: Path
) -> None:
    await sell(bus, database_url, on=date(2000, 12, 31), orders=["order-1"], publish=False)
    before = await stored(database_url)
    file = tmp_path / "2000.ndjson.gz"

    with pytest.raises(ArchiveError, match="3 events before 2001-01-01 are not published"):
        await archive.create(archives, file, DAY)
    async with raw_connection(database_url) as connection:
        await connection.execute("DELETE FROM outbox")
        today = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    # Not today either: a transaction that began yesterday may not have committed.
    with pytest.raises(ArchiveError, match="is not before today"):
        await archive.create(archives, file, today)
    file.write_text("precious")
    with pytest.raises(ArchiveError, match="exists; name a new file"):
        await archive.create(archives, file, DAY)
    assert (file.read_text(), await stored(database_url)) == ("precious", before)

    file.unlink()
    await archive.create(archives, file, DAY)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ArchiveError, match="has changed since"):
        await archive.restore(archives, file)
    with pytest.raises(FileNotFoundError):
        await archive.create(archives, tmp_path / "missing" / file.name, LATER)
    assert await stored(database_url) == []
