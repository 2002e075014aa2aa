"""The duration and size of a run."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Plan:
    """The duration and size of a run, and its wrong results."""

    rounds: int
    seconds: int
    messages: int
    relay_rows: int
    lines_behind: int
    batches_behind: int
    compare_rounds: int
    cut_rounds: int
    memory_commands: int
    import_rows: int
    say: Callable[[str], None]
    faults: list[str] = field(default_factory=list)

    def check(self, scenario: str, expected: object, found: object) -> None:
        """Record a wrong result."""
        if expected != found:
            self.faults.append(f"{scenario}: expected {expected}, found {found}")
