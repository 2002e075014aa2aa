"""The command `allocation reconcile`."""

import asyncio
import json
import subprocess
from collections.abc import Callable

import pytest

from app.adapters.postgresql.connections import create_engine
from app.domain.commands import Allocate, CreateBatch
from app.settings import Settings
from tests.e2e.conftest import RunHere
from tests.support.database import bus_over, raw_connection, results

Reconcile = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def reconcile(settings: Settings, run_here: RunHere) -> Reconcile:
    """Run the command against the database of the test."""
    return lambda *arguments: run_here("reconcile", *arguments, database_url=settings.database_url.get_secret_value())


def damage(settings: Settings, statement: str) -> None:
    """Store five chairs, four of them allocated and two more requested, and then run the statement."""
    asyncio.run(_damage(settings, statement))


async def _damage(settings: Settings, statement: str) -> None:
    engine = create_engine(settings.database_url.get_secret_value(), pool_size=1)
    await results(
        bus_over(engine),
        CreateBatch(ref="batch-1", sku="CHAIR", qty=5),
        Allocate(order_id="order-1", sku="CHAIR", qty=4),
        Allocate(order_id="order-2", sku="CHAIR", qty=2),
    )
    await engine.dispose()
    async with raw_connection(settings.database_url.get_secret_value()) as connection:
        await connection.execute(statement)


def test_nothing_to_report_is_one_line_and_status_0(settings: Settings, reconcile: Reconcile) -> None:
    damage(settings, "SELECT")
    for arguments in ([], ["--repair"]):
        done = reconcile(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "differences: 0 found, 0 repaired, 0 remaining\n"


def test_a_difference_is_a_line_and_status_1_until_it_is_repaired(settings: Settings, reconcile: Reconcile) -> None:
    damage(
        settings,
        "UPDATE batches SET qty = 6, allocated_qty = 3; UPDATE products SET backordered_qty = 1",
    )
    lines = [
        "allocated_qty CHAIR: batch batch-1 has 3 allocated; its lines have 4 allocated",
        "backordered_qty CHAIR: the product has 1, its queued lines need 2",
        "queue CHAIR: a line of 2 waits, and a batch has 2 available",
    ]

    reported = reconcile()
    as_json = [json.loads(line) for line in reconcile("--json").stdout.splitlines()]
    repaired = reconcile("--repair")
    after = reconcile()

    assert (reported.returncode, reported.stdout.splitlines()) == (1, lines)
    assert reported.stderr == "allocation: differences: 3 found, 0 repaired, 3 remaining\n"
    assert [f"{each['kind']} {each['sku']}: {each['text']}" for each in as_json] == lines
    assert {each["mended"] for each in as_json} == {False}
    assert (repaired.returncode, repaired.stderr) == (0, "")
    assert repaired.stdout.splitlines() == [
        *(f"{line} (repaired)" for line in lines),
        "differences: 3 found, 3 repaired, 0 remaining",
    ]
    assert (after.returncode, after.stdout) == (0, "differences: 0 found, 0 repaired, 0 remaining\n")


def test_what_cannot_be_repaired_remains_and_gives_status_1(settings: Settings, reconcile: Reconcile) -> None:
    damage(settings, "DELETE FROM events WHERE sequence = 2; UPDATE products SET backordered_qty = 1")

    done = reconcile("--repair")

    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["backordered_qty", "events_gap"]
    assert done.stderr == "allocation: differences: 2 found, 1 repaired, 1 remaining\n"
