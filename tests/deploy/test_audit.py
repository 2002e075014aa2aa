"""`make audit`: red for findings, and for nothing else; what could not be checked is said."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).resolve().parents[2] / "requirements" / "audit.py"
SAFE: dict[str, Any] = {"name": "safe", "version": "1.0", "vulns": []}
BROKEN: dict[str, Any] = {
    "name": "broken",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["2.1"], "aliases": [], "description": ""}],
}
UNKNOWN: dict[str, Any] = {"name": "unknown", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def audit(folder: Path, answer: str, status: int) -> subprocess.CompletedProcess[str]:
    """Run it with a pip-audit that answers this."""
    program = folder / "pip-audit"
    (folder / "answer").write_text(answer)
    program.write_text(f"#!/bin/sh\ncat '{folder}/answer'\necho 'ConnectionError: no network' >&2\nexit {status}\n")
    program.chmod(0o755)
    environment = os.environ | {"PIP_AUDIT": str(program)}
    return subprocess.run(
        [sys.executable, AUDIT], env=environment, capture_output=True, check=False, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("packages", "status", "words"),
    [
        ([SAFE], 0, ["1 packages checked, 0 known"]),
        ([SAFE, BROKEN], 1, ["broken==2.0: PYSEC-2026-1, mended in 2.1", "2 packages checked, 1 known"]),
        ([UNKNOWN], 0, ["1 packages NOT CHECKED", "0 packages checked"]),
        ([BROKEN, UNKNOWN], 1, ["1 packages NOT CHECKED", "1 known"]),
    ],
)
def test_only_findings_are_a_failure(tmp_path: Path, packages: list[Any], status: int, words: list[str]) -> None:
    done = audit(tmp_path, json.dumps({"dependencies": packages, "fixes": []}), status)
    assert done.returncode == status, done.stdout + done.stderr
    assert [word for word in words if word not in done.stdout] == []


@pytest.mark.parametrize("answer", ["", "no JSON", "{}"])
def test_without_network_it_is_green_and_says_that_nothing_was_checked(tmp_path: Path, answer: str) -> None:
    done = audit(tmp_path, answer, 1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOTHING WAS CHECKED" in done.stdout
    assert "no network" in done.stdout
