"""Operators' tools work with all cells of a database."""

import gzip
import json
import logging
import uuid
from datetime import date
from pathlib import Path

import asyncpg
import pytest
from aiokafka import ConsumerRecord
from sqlalchemy.engine import make_url

from app.adapters.kafka import clients
from app.adapters.kafka.clients import TopicState
from app.adapters.postgresql import event_archives
from app.adapters.postgresql.event_archives import EventArchives
from app.bootstrap import Service
from app.embedded.postgresql import EmbeddedPostgresql
from app.entrypoints import components
from app.integration.cloudevents import CloudEvent
from app.operations import archive, doctor, history_recovery
from app.operations.doctor_of_cells import check_cells
from app.operations.history_recovery import import_missing
from tests.support.database import raw_connection
from tests.support.four_cells import (
    SCHEMAS,
    in_all_cells,
    in_each_cell,
    insert_product,
    schema_of_name,
)
from tests.support.records import record
from tests.support.relaying import write

SKUS = in_each_cell("SKU", of_each=2)
BUSY = next(name for name in in_each_cell("BUSY") if schema_of_name(name) == "cell_3")
DAY = date(2001, 1, 1)


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_archives, "PAGE", 2)
    monkeypatch.setattr(archive, "PAGE", 2)


# --- archives and history --------------------------------------------------------------------------------------------


async def stored(database: asyncpg.Connection) -> list[list[asyncpg.Record]]:
    return [await database.fetch(f"SELECT * FROM {schema}.events ORDER BY id") for schema in SCHEMAS]


async def write_old_events(service: Service, database: asyncpg.Connection) -> None:
    """Three events of each SKU; the first two are old and published. One cell has more old events than the others."""
    for sku in (*SKUS, BUSY):
        await write(service.cells.engine_of(sku), sku, 1, 2)
    for schema in SCHEMAS:
        await database.execute(f"UPDATE {schema}.events SET created_at = '2000-12-31'; DELETE FROM {schema}.outbox")
    for sku in SKUS:
        await write(service.cells.engine_of(sku), sku, 3)


async def test_an_archive_has_the_events_of_all_cells_and_returns_each_to_its_cell(
    over_cells: Service, database: asyncpg.Connection, tmp_path: Path
) -> None:
    await write_old_events(over_cells, database)
    before = await stored(database)
    archives, file = EventArchives(over_cells.cells), tmp_path / "2000.ndjson.gz"

    made = await archive.create(archives, file, DAY)

    assert made is not None
    assert made.events == 2 * len(SKUS) + 2
    lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert sorted((line["subject"], line["sequence"]) for line in lines) == sorted(
        (sku, sequence) for sku in (*SKUS, BUSY) for sequence in (1, 2)
    )
    assert await stored(database) == [rows[-2:] for rows in before]
    notes = await in_all_cells(database, "SELECT last_id FROM {schema}.event_archives")
    assert notes == [rows[-3]["id"] for rows in before]
    assert [each.file for each in await archives.archives()] == [file.name]

    assert (await archive.restore(archives, file)).events == 2 * len(SKUS) + 2
    assert await stored(database) == before
    assert await archives.archives() == []
    assert await in_all_cells(database, "SELECT count(*) FROM {schema}.event_archives") == [0] * 4


async def test_an_archive_that_was_interrupted_in_one_cell_is_finished_by_the_next_run(
    over_cells: Service, database: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_old_events(over_cells, database)
    before = await stored(database)
    archives, file = EventArchives(over_cells.cells), tmp_path / "2000.ndjson.gz"
    delete = archives.delete

    async def stop_in_the_third(cell: int, last_id: int) -> int:
        if cell == 2:
            raise ConnectionError
        return await delete(cell, last_id)

    with monkeypatch.context() as patch:
        patch.setattr(archives, "delete", stop_in_the_third)
        with pytest.raises(ConnectionError):
            await archive.create(archives, file, DAY)
    assert list(map(len, await stored(database))) == [2, 2, 6, 8]

    assert await archive.create(archives, tmp_path / "again.ndjson.gz", DAY) is None
    assert list(map(len, await stored(database))) == [2] * 4
    await archive.restore(archives, file)
    assert await stored(database) == before


async def test_unpublished_events_of_any_cell_are_not_archived(
    over_cells: Service, database: asyncpg.Connection, tmp_path: Path
) -> None:
    for sku in SKUS[:3]:
        await write(over_cells.cells.engine_of(sku), sku, 1)
    for schema in SCHEMAS:
        await database.execute(f"UPDATE {schema}.events SET created_at = '2000-12-31'")

    with pytest.raises(archive.ArchiveError, match="3 events before 2001-01-01 are not published"):
        await archive.create(EventArchives(over_cells.cells), tmp_path / "file", DAY)


def published(sku: str, sequence: int) -> ConsumerRecord:
    event = CloudEvent(
        id=str(uuid.uuid4()),
        type="out_of_stock.v1",
        data=b"{}",
        source="/allocation",
        time="2001-01-01T00:00:00Z",
        subject=sku,
        sequence=str(sequence),
        correlation_id="c",
        causation_id="c",
    )
    return record(*event.to_record())


async def test_missing_events_are_imported_into_the_cells_of_their_products(
    over_cells: Service, database: asyncpg.Connection
) -> None:
    await insert_product(database, SKUS[0], sequence=1)
    await write(over_cells.cells.engine_of(SKUS[0]), SKUS[0], 1)

    found = await import_missing(
        over_cells, [record((), b"foreign"), *(published(sku, number) for sku in SKUS for number in (1, 2))]
    )

    assert found == history_recovery.ImportResult(frozenset(SKUS), 1, frozenset(SKUS[:1]))
    products = [await database.fetch(f"SELECT sku, sequence FROM {schema}.products ORDER BY sku") for schema in SCHEMAS]
    assert products == [sorted((sku, 2) for sku in SKUS if schema_of_name(sku) == schema) for schema in SCHEMAS]
    assert await in_all_cells(database, "SELECT count(*) FROM {schema}.events") == [4] * 4


# --- doctor ----------------------------------------------------------------------------------------------------------

CITUS = """
    INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    VALUES (99999, 'citus', 10, 'pg_catalog'::regnamespace, false, '14.0');
    CREATE VIEW citus_shards AS
    SELECT CAST(schema || '.' || "table" AS regclass) AS table_name, node AS nodename, 5432 AS nodeport
    FROM (VALUES ('cell_0', 'east'), ('cell_1', 'west'), ('cell_2', 'east'), ('control', 'west')) AS p(schema, node)
    CROSS JOIN (VALUES ('products'), ('events')) AS t("table");
    GRANT SELECT ON citus_shards TO allocation;
"""
SETTINGS = """
    ALTER ROLE allocation IN DATABASE {database} SET lock_timeout = '3s';
    ALTER ROLE allocation IN DATABASE {database} SET timezone = 'UTC';
    ALTER ROLE allocation IN DATABASE {database} SET enable_seqscan = 'off';
    ALTER ROLE allocation IN DATABASE {database} SET enable_bitmapscan = 'off';
    ALTER ROLE allocation IN DATABASE {database} SET citus.override_table_visibility = 'off';
"""


async def test_the_doctor_names_the_nodes_of_the_cells_and_what_citus_lacks(
    over_cells: Service, postgresql: EmbeddedPostgresql, cells_url: str
) -> None:
    """The catalog of Citus is imitated: its extension is not installed here."""
    assert [each.line for each in await check_cells(over_cells)] == [
        "ok       cells     4 cells on one server, without Citus"
    ]

    name = str(make_url(cells_url).database)
    admin_url = make_url(postgresql.admin_url).set(database=name).render_as_string(hide_password=False)
    async with raw_connection(admin_url) as connection:
        await connection.execute(CITUS + SETTINGS.format(database=name))
        placed, local, lacking = await check_cells(over_cells)
        await connection.execute(f"ALTER ROLE allocation IN DATABASE {name} SET timezone = 'Europe/Berlin'")
        *_, of_another_zone = await check_cells(over_cells)

    assert placed.text == "4 cells: cell_0, cell_2 at east:5432; cell_1, control at west:5432"
    assert (local.verdict, local.text) == ("warning", "not distributed by Citus: cell_3")
    assert lacking.text.endswith("need: jit = 'off'")
    assert of_another_zone.text.endswith("need: timezone = 'UTC', jit = 'off'")


async def test_the_doctor_names_the_cell_that_is_behind_and_late_events_of_any_cell(
    over_cells: Service, database: asyncpg.Connection
) -> None:
    await database.execute("UPDATE cell_2.alembic_version SET version_num = '0016'")
    sku = next(sku for sku in SKUS if schema_of_name(sku) == "cell_3")
    await write(over_cells.cells.engine_of(sku), sku, 1)
    await database.execute("UPDATE cell_3.events SET created_at = now() - interval '10 minutes'")

    lines = [finding.line async for finding in doctor.examine(over_cells)]

    assert any("fault    schema    the schema cell_2 is at revision 0016" in line for line in lines)
    assert any(f"fault    events    {sku}: unpublished for 60" in line for line in lines)


async def test_partitions_that_cannot_be_shared_out_among_the_cells_are_named(
    over_cells: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = over_cells.settings
    topics = {
        settings.kafka_inbound_topics[0]: TopicState("in", 6, 1, 0, 0),
        settings.kafka_events_topic: TopicState("out", 8, 1, 0, 0),
    }

    async def describe(_: object, names: list[str]) -> tuple[int, dict[str, TopicState]]:
        return 1, {name: topics[name] for name in names}

    async def create(*_: object) -> None:
        pass

    monkeypatch.setattr(clients, "describe_topics", describe)
    monkeypatch.setattr(clients, "create_topics", create)
    text = f"{settings.kafka_inbound_topics[0]}: 6 partitions, no multiple of ALLOCATION_CELLS, which is 4"

    findings = [finding async for finding in doctor.examine(over_cells) if "multiple" in finding.text]
    assert [(finding.verdict, finding.text) for finding in findings] == [("warning", text)]

    create_topics = components._topics(over_cells, list(topics))
    with caplog.at_level(logging.WARNING, "app.entrypoints.components"):
        await create_topics()
        await create_topics()
    assert [each.getMessage().partition(";")[0] for each in caplog.records] == [text]
