"""The command `allocation import`."""

import csv
import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.settings import Settings
from tests.e2e.conftest import RunHere
from tests.support.command import assert_one_clear_line, environment, run_command, running
from tests.support.database import raw_connection
from tests.support.import_files import SKUS, write_batches, write_csv

Import = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bring_in(settings: Settings, tmp_path: Path) -> Import:
    """Run the command in the directory of the test, against its database."""
    return lambda *arguments: run_command(["import", *arguments], environment(settings), tmp_path)


@pytest.fixture
def bring_in_here(settings: Settings, run_here: RunHere) -> Import:
    """Run the command in this process, in the directory of the test: most of the time of a new one is its imports."""
    return lambda *arguments: run_here("import", *arguments, database_url=settings.database_url.get_secret_value())


def order_lines(number: int) -> list[str]:
    return [f"order-{row},SKU-{row % SKUS},1" for row in range(number)]


def results_in(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as content:
        return list(csv.DictReader(content))


async def counted(settings: Settings) -> tuple[int, int, int]:
    """The numbers of lines, of their allocation events, and of pieces that batches count as allocated."""
    async with raw_connection(settings.database_url.get_secret_value()) as connection:
        return (
            await connection.fetchval("SELECT count(*) FROM order_lines"),
            await connection.fetchval("SELECT count(*) FROM events WHERE type = 'line_allocated.v1'"),
            await connection.fetchval("SELECT coalesce(sum(allocated_qty), 0)::int FROM batches"),
        )


async def test_a_file_takes_effect_once_however_often_it_is_imported(
    settings: Settings, tmp_path: Path, bring_in: Import
) -> None:
    write_batches(tmp_path, 1000)
    write_csv(tmp_path / "orders.csv", "order_id,sku,qty", order_lines(3000))

    assert bring_in("batches.csv").returncode == 0
    first = bring_in("orders.csv")
    assert (first.returncode, first.stdout) == (0, "")
    assert "3,000 rows in " in first.stderr
    assert first.stderr.endswith(": 3,000 allocated; see orders.results.csv\n")
    found = results_in(tmp_path / "orders.results.csv")
    assert found[0] == {"row": "2", "key": "order-0/SKU-0", "outcome": "allocated", "detail": "batch-0"}
    assert [int(result["row"]) for result in found] == list(range(2, 3002))

    again = bring_in("orders.csv")
    assert again.returncode == 0
    assert ": 3,000 known; " in again.stderr
    assert await counted(settings) == (3000, 3000, 3000)


async def test_a_failed_row_is_reported_with_its_reason_and_the_status_is_1(
    settings: Settings, tmp_path: Path, bring_in: Import
) -> None:
    write_batches(tmp_path, 2)
    bring_in("batches.csv")
    rows = [
        "o1,SKU-1,2,",
        "o2,SKU-1",
        "o3,SKU-1,two,",
        "o4,NONE,1,",
        "o5,SKU-1,1,reject",
        "o6,SKU-1,1,",
        '"o7,SKU-2,1,',
    ]
    write_csv(tmp_path / "orders.csv", "order_id,sku,qty,if_unavailable", [*rows, "o8,SKU-2,1,"])

    done = bring_in("orders.csv", "--results", "what became.ndjson")

    assert_one_clear_line(done, 1, "8 rows", "3 invalid-row", "1 invalid-sku", "1 out-of-stock", "what became.ndjson")
    found = [json.loads(line) for line in (tmp_path / "what became.ndjson").read_text().splitlines()]
    assert [(result["row"], result["outcome"]) for result in found] == [
        (2, "allocated"),
        (3, "invalid-row"),
        (4, "invalid-row"),
        (5, "invalid-sku"),
        (6, "out-of-stock"),
        (7, "backordered"),
        (8, "invalid-row"),
        (9, "allocated"),
    ]
    assert found[1]["detail"] == "the row has 2 columns, the header 4"
    assert found[3]["detail"] == "Invalid sku NONE"


async def test_an_import_repeated_after_kill_9_doubles_nothing(
    settings: Settings, tmp_path: Path, bring_in: Import
) -> None:
    write_batches(tmp_path, 10_000)
    bring_in("batches.csv")
    write_csv(tmp_path / "orders.csv", "order_id,sku,qty", order_lines(30_000))
    results = tmp_path / "orders.results.csv"

    with running("import", "orders.csv", env=environment(settings), log=tmp_path / "log") as command:
        command.wait_for(lambda: results.exists() and results.stat().st_size > 100_000)
        command.kill()
    before, _, _ = await counted(settings)
    assert 0 < before < 30_000
    kept = results_in(results)

    again = bring_in("orders.csv")

    assert again.returncode == 0, again.stderr
    outcomes = Counter(result["outcome"] for result in results_in(results))
    assert outcomes == {"known": before, "allocated": 30_000 - before}
    assert await counted(settings) == (30_000, 30_000, 30_000)
    # The results written before the kill are true.
    assert {result["outcome"] for result in results_in(results)[: len(kept) - 1]} == {"known"}


async def test_ctrl_c_stops_between_two_rows_and_the_results_are_complete(
    settings: Settings, tmp_path: Path, bring_in: Import
) -> None:
    write_batches(tmp_path, 10_000)
    bring_in("batches.csv")
    write_csv(tmp_path / "orders.csv", "order_id,sku,qty", order_lines(30_000))
    results = tmp_path / "orders.results.csv"

    with running("import", "orders.csv", env=environment(settings), log=tmp_path / "log") as command:
        command.wait_for(lambda: results.exists() and results.stat().st_size > 100_000)
        assert command.stop(signal.SIGINT) == 130

    written = results_in(results)
    done, _, _ = await counted(settings)
    assert 0 < done < 30_000
    assert [result["outcome"] for result in written] == ["allocated"] * done
    assert f"stopped after row {written[-1]['row']}, run it again for the rest" in command.output
    assert "Traceback" not in command.output


def test_a_header_without_rows_imports_nothing(tmp_path: Path, bring_in_here: Import) -> None:
    write_csv(tmp_path / "orders.csv", "order_id,sku,qty", [])

    done = bring_in_here("orders.csv")
    assert (done.returncode, done.stderr[:10]) == (0, "0 rows in ")


@pytest.mark.parametrize(
    ("name", "content"), [("a.ndjson", ""), ("a.csv", ""), ("a.csv", "\ufeff"), ("a.csv", "sep=;\n\n,,,\r\n")]
)
def test_an_empty_file_is_reported(tmp_path: Path, bring_in_here: Import, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)

    assert_one_clear_line(bring_in_here(name), 2, "the file is empty")


def test_a_file_of_a_spreadsheet_is_imported(tmp_path: Path, bring_in_here: Import) -> None:
    rows = ["sep=;", "", "Ref; SKU;Qty;ETA;Comment;;", "b1;CHAIR;5;;blue;;", ";;;;;;", "b2;CHAIR;5;31.12.2030;;;"]
    (tmp_path / "batches.csv").write_bytes("\ufeff".encode() + "\r\n".join(rows).encode())

    assert_one_clear_line(bring_in_here("batches.csv"), 2, "unknown: comment")
    done = bring_in_here("batches.csv", "--ignore-unknown-columns")

    assert "1 recorded, 1 invalid-row" in done.stderr
    results = (tmp_path / "batches.results.csv").read_text().splitlines()
    assert results[1] == "4,b1,recorded,"
    assert results[2].startswith("6,,invalid-row,")
    assert "YYYY-MM-DD" in results[2]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["missing.csv"], "missing.csv"),
        (["orders.txt"], "--format csv"),
        (["-"], "--format csv"),
        (["orders.csv", "--kind", "batches"], "ref,sku,qty,eta"),
        (["orders.csv", "--kind", "boats"], "boats"),
        (["orders.csv", "--results", "orders.csv"], "--results"),
        (["orders.csv", "--results", "no such/folder"], "no such/folder"),
        (["strange.csv"], "the header has to be"),
    ],
)
def test_a_mistake_gives_one_clear_line_and_status_2(
    tmp_path: Path, bring_in_here: Import, arguments: list[str], word: str
) -> None:
    write_csv(tmp_path / "orders.csv", "order_id,sku,qty", order_lines(1))
    write_csv(tmp_path / "orders.txt", "order_id,sku,qty", order_lines(1))
    write_csv(tmp_path / "strange.csv", "id;name", ["1;2"])

    assert_one_clear_line(bring_in_here(*arguments), 2, word)


def test_a_database_without_a_schema_is_reported(empty_database_url: str, tmp_path: Path) -> None:
    write_batches(tmp_path, 1)
    settings = Settings(_env_file=None, database_url=SecretStr(empty_database_url))

    done = run_command(["import", "batches.csv"], environment(settings), tmp_path)

    assert_one_clear_line(done, 1, "schema")
    assert not (tmp_path / "batches.results.csv").exists()


async def test_a_file_of_counts_sets_the_stock_and_can_be_repeated(
    settings: Settings, tmp_path: Path, bring_in: Import
) -> None:
    write_csv(
        tmp_path / "counts.csv", "sku;on_hand_qty;reference", [f"SKU-{number};7;list 3" for number in range(SKUS)]
    )

    for arguments in ([], ["--kind", "counts"]):
        done = bring_in("counts.csv", *arguments)
        assert (done.returncode, f"{SKUS} counted" in done.stderr) == (0, True)
    found = results_in(tmp_path / "counts.results.csv")
    assert found[0] == {"row": "2", "key": "SKU-0", "outcome": "counted", "detail": ""}
    async with raw_connection(settings.database_url.get_secret_value()) as connection:
        assert await connection.fetchval("SELECT sum(qty) FROM batches") == 7 * SKUS
        assert await connection.fetchval("SELECT count(*) FROM events") == SKUS
