"""The command `allocation import` between pipes and at a terminal: its input, output and progress."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import pytest

from app.cli import importing
from app.operations.line_source import LineSource
from app.settings import Settings
from tests.support.command import ALLOCATION, environment
from tests.support.import_files import write_batches


def test_a_pipe_is_imported_and_the_results_go_to_standard_output(settings: Settings, tmp_path: Path) -> None:
    rows = [
        {"ref": "batch-1", "sku": "CHAIR", "qty": 3, "eta": None},
        {"order_id": "order-1", "sku": "CHAIR", "qty": 3},
        {"order_id": "order-2", "sku": "CHAIR", "qty": 1},
    ]
    done = subprocess.run(
        [ALLOCATION, "import", "-", "--format", "ndjson"],
        env=environment(settings),
        cwd=tmp_path,
        input="".join(f"{json.dumps(row)}\n" for row in rows),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["outcome"] for line in done.stdout.splitlines()] == [
        "recorded",
        "allocated",
        "backordered",
    ]
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_stops_it_while_it_waits_for_a_pipe(settings: Settings, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [ALLOCATION, "import", "-", "--format", "csv"],
        env=environment(settings),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"ref,sku,qty\nbatch-1,CHAIR,5\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"row,key,outcome,detail\n"
        assert process.stdout.readline() == b"2,batch-1,recorded,\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_a_terminal_gets_a_bar_with_rate_and_time_left(settings: Settings, tmp_path: Path) -> None:
    write_batches(tmp_path, 1)
    terminal, other_end = pty.openpty()
    try:
        process = subprocess.Popen(
            [ALLOCATION, "import", "batches.csv"], env=environment(settings), cwd=tmp_path, stderr=other_end
        )
        assert process.wait(60) == 0
        seen = os.read(terminal, 65_536).decode()
    finally:
        os.close(terminal)
        os.close(other_end)

    assert "import  [#" in seen
    assert "100%" in seen
    assert "10 rows, " in seen


def test_without_a_terminal_a_line_shows_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(importing, "SECONDS_BETWEEN_LINES", 0)
    file = tmp_path / "rows"
    file.write_text("x" * 1000)
    with file.open() as content:
        source = LineSource(content.fileno(), asyncio.Event())
    progress = importing._Progress(source)

    source.position = 500
    progress.show(1234)

    assert re.fullmatch(r"import: 1,234 rows, [0-9,]+/s, [0-9]+ s left\n", capsys.readouterr().err)
