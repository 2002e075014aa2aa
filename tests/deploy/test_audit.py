"""`make audit` fails for findings and usage errors, not without a network, and reports what it could not check."""

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


# Standard error of pip-audit.
NO_NETWORK = (
    "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed\nERROR:pip_audit._cli:Tip: no network",
    "Traceback (most recent call last):\n  File a\nrequests.exceptions.ProxyError: no network",
    "Traceback (most recent call last):\n  File a\npip_audit._service.interface.ServiceError: no network",
)
USAGE_ERRORS = (
    "usage: pip-audit [-h]\npip-audit: error: unrecognized arguments: --ignore",
    "ERROR:pip_audit._cli:invalid requirements input: dev.txt",
    "Traceback (most recent call last):\n  File requests.exceptions.py\nTypeError: a fault of its own",
    "",
)


def audit(folder: Path, answer: str, status: int, error: str = "") -> subprocess.CompletedProcess[str]:
    """Run it with a fake pip-audit that has this output."""
    program = folder / "pip-audit"
    (folder / "answer").write_text(answer)
    (folder / "error").write_text(error)
    program.write_text(f"#!/bin/sh\ncat '{folder}/answer'\ncat '{folder}/error' >&2\nexit {status}\n")
    program.chmod(0o755)
    return run_audit(program)


def run_audit(program: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PIP_AUDIT": str(program)}
    return subprocess.run(
        [sys.executable, AUDIT], env=environment, capture_output=True, check=False, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("packages", "status", "words"),
    [
        ([SAFE], 0, ["1 packages checked, 0 known"]),
        ([SAFE, BROKEN], 1, ["broken==2.0: PYSEC-2026-1, fixed in 2.1", "2 packages checked, 1 known"]),
        ([UNKNOWN], 0, ["1 packages NOT CHECKED", "0 packages checked"]),
        ([BROKEN, UNKNOWN], 1, ["1 packages NOT CHECKED", "1 known"]),
    ],
)
def test_only_findings_are_a_failure(tmp_path: Path, packages: list[Any], status: int, words: list[str]) -> None:
    done = audit(tmp_path, json.dumps({"dependencies": packages, "fixes": []}), status)
    assert done.returncode == status, done.stdout + done.stderr
    assert [word for word in words if word not in done.stdout] == []


@pytest.mark.parametrize("answer", ["", "no JSON", "{}"])
@pytest.mark.parametrize("error", NO_NETWORK)
def test_succeeds_without_network_and_reports_that_nothing_was_checked(tmp_path: Path, answer: str, error: str) -> None:
    done = audit(tmp_path, answer, 1, error)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOTHING WAS CHECKED" in done.stdout
    assert "no network" in done.stdout


@pytest.mark.parametrize("error", USAGE_ERRORS)
def test_usage_error_is_a_failure(tmp_path: Path, error: str) -> None:
    done = audit(tmp_path, "", 2, error)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"audit: pip-audit could not run: {error.splitlines()[-1] if error else 'no output'}\n"


def test_missing_pip_audit_is_a_failure_in_one_line(tmp_path: Path) -> None:
    done = run_audit(tmp_path / "nowhere")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "make install" in done.stderr
