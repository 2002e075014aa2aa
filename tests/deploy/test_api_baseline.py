"""Today's documents are compatible with the API baseline, the documents of the last release.

An intended break is recorded with `make api-baseline`, in a commit that also raises the version.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.document_compatibility import asyncapi_breaks, openapi_breaks

ROOT = Path(__file__).parents[2]

CHECKS: dict[str, Callable[[dict[str, Any], dict[str, Any]], list[str]]] = {
    "openapi": openapi_breaks,
    "asyncapi": asyncapi_breaks,
}


@pytest.mark.parametrize("name", CHECKS)
def test_document_is_compatible_with_the_api_baseline(name: str) -> None:
    baseline = json.loads((ROOT / "tests" / "api_baseline" / f"{name}.json").read_text())
    today = json.loads((ROOT / "docs" / f"{name}.json").read_text())
    breaks = CHECKS[name](baseline, today)
    assert not breaks, "\n".join(["Incompatible changes; where they are intended, run `make api-baseline`:", *breaks])
