"""The committed OpenAPI and AsyncAPI documents."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
def test_committed_document_is_up_to_date(name: str) -> None:
    written = subprocess.run([sys.executable, "-m", "app", name], capture_output=True, check=True)
    committed = json.loads((DOCS / f"{name}.json").read_text())
    assert json.loads(written.stdout) == committed, "run `make openapi` and commit what it writes"
