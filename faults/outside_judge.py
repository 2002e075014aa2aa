"""The outside judge: whether the history of each SKU is linearizable, by a checker that is not ours.

The checker is Porcupine, the model of one SKU is in `faults/linearizability`; both are built with Go, once.
"""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.downloads import go_program

PROGRAM = Path(__file__).parent / "linearizability"


@dataclass
class Ruling:
    """The SKUs with a history that no order explains, and those for which the time was not enough."""

    operations: int = 0
    illegal: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def build() -> Path:
    """The program. Raises DownloadError without Go."""
    return go_program(PROGRAM)


def rule(program: Path, operations: Iterable[dict[str, Any]], seconds: float) -> Ruling:
    """Judge the operations of all SKUs within the time. Raises CalledProcessError if the program fails."""
    lines = [json.dumps(operation) for operation in operations]
    done = subprocess.run(
        [program, f"-limit={seconds:g}s"],
        input="\n".join(lines),
        capture_output=True,
        check=True,
        text=True,
        timeout=10 * seconds + 60,
    )
    ruling = Ruling(len(lines))
    for verdict in map(json.loads, done.stdout.splitlines()):
        if verdict["verdict"] != "ok":
            found = ruling.illegal if verdict["verdict"] == "illegal" else ruling.unknown
            found.append(_describe(verdict))
    return ruling


def _describe(verdict: dict[str, Any]) -> str:
    lines = [
        f"{verdict['sku']}: an order was found for {verdict['placed']} of {verdict['operations']} operations. The last",
        *verdict.get("last", ()),
        "and after them none of these can come:",
        *verdict.get("refused", ()),
    ]
    return "\n    ".join(lines)
