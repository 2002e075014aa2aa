"""The committed documents of the interfaces."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
def test_the_committed_document_is_what_the_service_says(name: str) -> None:
    said = subprocess.run([sys.executable, "-m", "app", name], capture_output=True, check=True)
    committed = json.loads((DOCS / f"{name}.json").read_text())
    assert json.loads(said.stdout) == committed, "run `make openapi` and commit what it writes"
