"""The commands of `allocation archive`, beside a service that sells."""

import asyncio
import gzip
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.adapters.postgresql.connections import create_engine
from app.domain.commands import Allocate, CreateBatch
from app.settings import Settings
from tests.e2e.conftest import RunHere
from tests.support.command import assert_one_clear_line
from tests.support.database import bus_over, raw_connection, results

Archive = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def archive(settings: Settings, run_here: RunHere) -> Archive:
    """Run a command of the group against the database of the test."""
    return lambda *arguments: run_here("archive", *arguments, database_url=settings.database_url.get_secret_value())


async def sell_long_ago(settings: Settings) -> None:
    engine = create_engine(settings.database_url.get_secret_value(), pool_size=1)
    bus = bus_over(engine)
    await results(bus, CreateBatch(ref="b", sku="CHAIR", qty=5), Allocate(order_id="o", sku="CHAIR", qty=1))
    await engine.dispose()
    async with raw_connection(settings.database_url.get_secret_value()) as connection:
        await connection.execute("UPDATE events SET created_at = '2000-06-01'; DELETE FROM outbox")


def test_events_are_moved_listed_and_restored(settings: Settings, archive: Archive, tmp_path: Path) -> None:
    asyncio.run(sell_long_ago(settings))
    file = tmp_path / "2000.ndjson.gz"

    made = archive("create", str(file), "--before", "2001-01-01")
    assert (made.returncode, made.stdout) == (0, f"2 events are in {file}.\n"), made.stderr
    with gzip.open(file, "rt") as lines:
        assert [json.loads(line)["type"] for line in lines] == ["batch_created.v1", "line_allocated.v1"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert archive("list").stdout == f"2000.ndjson.gz events=2 before=2001-01-01 sha256={digest}\n"
    (listed,) = map(json.loads, archive("list", "--json").stdout.splitlines())
    assert listed == {"file": "2000.ndjson.gz", "events": 2, "before": "2001-01-01", "sha256": digest}
    assert archive("create", str(tmp_path / "more"), "--before", "2001-01-01").stdout == "There are no such events.\n"

    restored = archive("restore", str(file))
    assert (restored.returncode, restored.stdout) == (0, f"2 events of {file} are in the database again.\n")
    assert archive("list").stdout == ""


def test_mistakes_are_one_line(settings: Settings, archive: Archive, tmp_path: Path) -> None:
    asyncio.run(sell_long_ago(settings))
    file = tmp_path / "file"
    file.write_text("other")

    assert_one_clear_line(archive("create", str(file), "--before", "2001-01-01"), 1, "exists; name a new file")
    assert_one_clear_line(archive("create", str(tmp_path / "new"), "--before", "2999-01-01"), 1, "is not before today")
    assert_one_clear_line(archive("create", str(tmp_path / "new"), "--before", "soon"), 2, "soon", "%Y-%m-%d")
    assert_one_clear_line(archive("create", str(tmp_path / "no" / "file"), "--before", "2001-01-01"), 2, "No such file")
    assert_one_clear_line(archive("restore", str(file)), 1, "is not an archive of this database")
    assert_one_clear_line(archive("restore", str(tmp_path / "none")), 2, "does not exist")
    assert file.read_text() == "other"
