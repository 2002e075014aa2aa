"""The size of a round, and its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from faults.load import Pace
from faults.stack import Role


@dataclass(frozen=True)
class Plan:
    """The size of a round: at least `commands`, at this pace, with settings that make the short round short.

    `judge` is the program that checks the order of the operations; None: this machine cannot build it.
    `minutes` is the duration of a round that is measured in time. `cells` is the number of cells.
    """

    short: bool
    seed: int
    commands: int
    pace: Pace
    counts: Mapping[Role, int]
    lease: float
    session: float
    say: Callable[[str], None]
    judge: Path | None = None
    minutes: float = 10.0
    cells: int = 1

    def of(self, full: int, short: int) -> int:
        """The first number in the full round, the second in the short one."""
        return short if self.short else full


@dataclass(frozen=True)
class Verdict:
    """The result of a round; `recoveries` are the seconds of each recovery.

    `late` counts violations of time limits; `left_out` is the reason why a round was skipped.
    """

    name: str
    commands: int
    duplicates: int
    recoveries: list[float]
    violations: list[str]
    seconds: float
    late: int = 0
    left_out: str = ""
