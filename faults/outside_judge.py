"""The outside judge: whether the history of each SKU is linearizable, by a checker that is not ours.

The checker is Porcupine, the model of one SKU is in `faults/linearizability`; both are built with Go, once.
"""

import json
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.wording import Fields
from tests.support.downloads import go_program

MODULE = Path(__file__).parent / "linearizability"

WORDS = {
    "illegal": "no order of its operations is possible",
    "disordered": "its operations have a possible order, but it is not the one of the events",
    "suspected": "the order of the events is not possible, and the time was not enough to try all others",
    "unknown": "the time was not enough to find a possible order",
}
"""The verdicts of the program other than `ok`."""


@dataclass
class Ruling:
    """`violations` are SKUs with a wrong history, `unknown` those for which the time was not enough."""

    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def build() -> Path:
    """The program. Raises DownloadError without Go, or where its modules cannot be fetched."""
    return go_program(MODULE)


def verdicts_on(program: Path, operations: Iterable[Fields], seconds: float) -> list[Fields]:
    """The verdict on each SKU. Raises RuntimeError if the program fails, TimeoutExpired if it does not end."""
    done = subprocess.run(
        [program, f"-limit={seconds:g}s"],
        input="\n".join(map(json.dumps, operations)),
        capture_output=True,
        check=False,
        text=True,
        timeout=10 * seconds + 60,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the judge failed: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def rule(program: Path, operations: Iterable[Fields], seconds: float) -> Ruling:
    """Judge the operations of all SKUs within the time."""
    begun, ruling = time.monotonic(), Ruling()
    for verdict in verdicts_on(program, operations, seconds):
        if verdict["verdict"] != "ok":
            found = ruling.unknown if verdict["verdict"] == "unknown" else ruling.violations
            found.append(_describe(verdict))
    ruling.seconds = time.monotonic() - begun
    return ruling


def _describe(verdict: Mapping[str, Any]) -> str:
    placed, operations = verdict["placed"], verdict["operations"]
    lines = [
        f"order of {verdict['sku']}: {WORDS[verdict['verdict']]}. {placed} of its {operations} operations fit, at last",
        *verdict.get("last", ()),
        "and then none of these can come:",
        *verdict.get("refused", ()),
    ]
    return "\n    ".join(lines)
