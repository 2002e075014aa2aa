"""The migrations: up, down and up again; they create the tables of `tables.py`, and wait briefly for locks."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.adapters.postgresql import schema
from app.adapters.postgresql.connections import create_engine
from app.adapters.postgresql.tables import metadata
from tests.support.database import raw_connection
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
REVISIONS = [
    revision.revision
    for revision in reversed(list(ScriptDirectory.from_config(Config(ROOT / "alembic.ini")).walk_revisions()))
]
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"


@pytest.fixture
def config(empty_database_url: str) -> Config:
    config = Config(ROOT / "alembic.ini")
    config.attributes["database_url"] = empty_database_url
    return config


def tables(database_url: str) -> list[str]:
    async def ask() -> list[str]:
        async with raw_connection(database_url) as connection:
            return [row["table_name"] for row in await connection.fetch(TABLES)]

    return asyncio.run(ask())


@pytest.mark.parametrize("revision", REVISIONS)
def test_goes_up_down_and_up_again(config: Config, revision: str) -> None:
    command.upgrade(config, revision)
    command.downgrade(config, "-1")
    command.upgrade(config, revision)


def test_there_is_one_line_of_revisions_whose_files_begin_with_their_numbers() -> None:
    scripts = ScriptDirectory.from_config(Config(ROOT / "alembic.ini"))

    assert scripts.get_heads() == [schema.head()]
    assert {revision.revision for revision in scripts.walk_revisions()} == schema.known_revisions()
    assert [f"{number:04}" for number in range(1, len(REVISIONS) + 1)] == REVISIONS
    for revision in scripts.walk_revisions():
        assert Path(revision.path).name.startswith(f"{revision.revision}_")
        assert revision.doc


def test_downgrading_to_base_leaves_nothing_behind(config: Config, empty_database_url: str) -> None:
    command.upgrade(config, "head")
    command.downgrade(config, "base")

    assert tables(empty_database_url) == ["alembic_version"]


def test_make_what_the_tables_say(config: Config) -> None:
    command.upgrade(config, "head")

    command.check(config)


def test_make_every_index_constraint_and_option_that_the_tables_say(config: Config, empty_database_url: str) -> None:
    """`alembic check` compares neither CHECK constraints nor the predicates of indexes nor storage options."""
    command.upgrade(config, "head")
    migrated = asyncio.run(catalogue(empty_database_url))
    command.downgrade(config, "base")
    asyncio.run(create_all(empty_database_url))

    assert asyncio.run(catalogue(empty_database_url)) == migrated


async def create_all(database_url: str) -> None:
    engine = create_engine(database_url, pool_size=1)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()


async def catalogue(database_url: str) -> dict[str, list[tuple[object, ...]]]:
    async with raw_connection(database_url) as connection:
        questions = {
            "constraints": """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
                              WHERE connamespace = 'public'::regnamespace""",
            "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
            "options": """SELECT relname, reloptions::text FROM pg_class
                          WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'""",
            "columns": """SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name,
                                 is_identity, generation_expression
                          FROM information_schema.columns WHERE table_schema = 'public'""",
        }
        found = {}
        for name, question in questions.items():
            rows = [tuple(row) for row in await connection.fetch(question)]
            found[name] = sorted((row for row in rows if "alembic" not in str(row[0])), key=str)
        return found


def test_an_older_schema_is_reported_with_the_command_to_run(config: Config, empty_database_url: str) -> None:
    async def check() -> str | None:
        engine = create_engine(empty_database_url, pool_size=1)
        try:
            return await schema.check(engine)
        finally:
            await engine.dispose()

    assert asyncio.run(check()) == (f"the schema is at revision none, not at {REVISIONS[-1]}; run: allocation migrate")
    command.upgrade(config, "head")
    assert asyncio.run(check()) is None


@pytest.mark.parametrize(("revision", "is_ready"), [*((each, False) for each in REVISIONS[:-1]), ("later", True)])
def test_a_known_older_revision_is_not_enough_and_an_unknown_one_is_newer(
    config: Config, empty_database_url: str, revision: str, is_ready: bool
) -> None:
    async def check_at_revision() -> str | None:
        async with raw_connection(empty_database_url) as connection:
            await connection.execute("UPDATE alembic_version SET version_num = $1", revision)
        engine = create_engine(empty_database_url, pool_size=1)
        try:
            return await schema.check(engine)
        finally:
            await engine.dispose()

    command.upgrade(config, "head")
    assert (asyncio.run(check_at_revision()) is None) == is_ready


def test_migrate_of_an_older_release_leaves_a_newer_schema_alone(empty_database_url: str) -> None:
    """A release that is rolled back runs `allocation migrate` before its processes start, as every release does."""

    async def make_newer() -> None:
        async with raw_connection(empty_database_url) as connection:
            await connection.execute("UPDATE alembic_version SET version_num = 'later'")

    schema.migrate(empty_database_url)
    asyncio.run(make_newer())
    environment = {**os.environ, "ALLOCATION_DATABASE_URL": empty_database_url, "ALLOCATION_CELLS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "app", "migrate"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "later" in done.stdout


def test_two_concurrent_migrations_succeed(empty_database_url: str) -> None:
    environment = {**os.environ, "ALLOCATION_DATABASE_URL": empty_database_url, "ALLOCATION_CELLS": "1"}
    processes = [
        subprocess.Popen([sys.executable, "-m", "app", "migrate"], env=environment, cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said

    assert "order_lines" in tables(empty_database_url)


def test_an_event_written_while_the_outbox_is_replaced_is_kept(config: Config, empty_database_url: str) -> None:
    command.upgrade(config, "0004")

    async def upgrade_beside_a_writer() -> int:
        async with raw_connection(empty_database_url) as writer, raw_connection(empty_database_url) as other:

            async def waits() -> bool:
                return bool(await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            async with writer.transaction():
                await writer.execute(
                    "INSERT INTO outbox (shard, sku, sequence, type, data, correlation_id, causation_id)"
                    " VALUES (0, 'CHAIR', 1, 'out_of_stock.v1', '{}', 'c', 'c')"
                )
                upgrading = asyncio.create_task(asyncio.to_thread(command.upgrade, config, "0005"))
                await eventually(waits)
            await upgrading
            return int(await other.fetchval("SELECT count(*) FROM events JOIN outbox USING (id)"))

    assert asyncio.run(upgrade_beside_a_writer()) == 1


PROBE = f"""
from alembic import op
revision, down_revision = "probe", "{REVISIONS[-1]}"
def upgrade(): op.execute("CREATE TABLE probe AS SELECT current_setting('lock_timeout') AS lock_timeout")
def downgrade(): op.execute("DROP TABLE probe")
"""


def test_a_migration_does_not_block_traffic_for_long(config: Config, empty_database_url: str, tmp_path: Path) -> None:
    """A session that waits for an exclusive lock blocks all later ones, so each revision gives up soon."""
    (tmp_path / "probe.py").write_text(PROBE)
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", f"{ROOT / 'alembic' / 'versions'}\n{tmp_path}")

    command.upgrade(config, "probe")

    async def lock_timeout() -> object:
        async with raw_connection(empty_database_url) as connection:
            return await connection.fetchval("SELECT lock_timeout FROM probe")

    assert asyncio.run(lock_timeout()) in {f"{seconds}s" for seconds in range(1, 11)}
