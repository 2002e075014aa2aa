"""What callers were promised is kept: the documents of today beside those of the last promise.

A promise that has to be broken after all is made anew, deliberately: `make promise`, and the version that callers see.
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
def test_nothing_that_was_promised_to_callers_has_been_broken(name: str) -> None:
    promised = json.loads((ROOT / "tests" / "promises" / f"{name}.json").read_text())
    today = json.loads((ROOT / "docs" / f"{name}.json").read_text())
    breaks = CHECKS[name](promised, today)
    assert not breaks, "\n".join(["Callers would be let down; where that is meant, run `make promise`:", *breaks])
