"""What the doctor finds."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check, with advice unless the verdict is OK."""

    name: str
    verdict: Verdict
    text: str
    advice: str = ""

    @property
    def line(self) -> str:
        """The finding in one line."""
        return f"{self.verdict:<8} {self.name:<9} {self.text}{f'; {self.advice}' if self.advice else ''}"
