"""The results of a run: a table, JSON, and a chart of bars beside their limits."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any


@dataclass
class Row:
    """A scenario: a ratio, its target, and the figures behind it.

    `at_least` or `at_most` is the target; a row without one is informative only.
    """

    scenario: str
    measured_as: str
    ratios: list[float]
    at_least: float | None = None
    at_most: float | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.ratios)

    @property
    def limit(self) -> str:
        """The target as text."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""

    @property
    def verdict(self) -> str:
        """Whether the target was reached."""
        if self.at_least is not None:
            return "reached" if self.ratio >= self.at_least else "missed"
        if self.at_most is not None:
            return "reached" if self.ratio <= self.at_most else "missed"
        return ""


def table(rows: list[Row]) -> str:
    """The rows as text."""
    lines = [f"{'scenario':<58} {'ratio':>8} {'target':>9} {'':8} figures"]
    for row in rows:
        figures = ", ".join(f"{name} {_short(value)}" for name, value in row.figures.items())
        lines.append(f"{row.scenario:<58} {row.ratio:>8.2f} {row.limit:>9} {row.verdict:<8} {figures}")
    return "\n".join(lines)


def write(rows: list[Row], faults: list[str], directory: Path) -> None:
    """Write `bench.json` and `bench.svg` into the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    content = {"rows": [{**asdict(row), "ratio": row.ratio, "verdict": row.verdict} for row in rows], "faults": faults}
    (directory / "bench.json").write_text(json.dumps(content, indent=2) + "\n")
    (directory / "bench.svg").write_text(picture(rows))


def picture(rows: list[Row]) -> str:
    """Bars relative to their targets; the line in the middle is the target."""
    limited = [row for row in rows if row.verdict]
    height, left, middle, full = 26, 430, 700, 960
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="1080" height="{height * len(limited) + 50}">',
        "<style>text { font: 13px sans-serif }</style>",
        f'<text x="{middle}" y="18" text-anchor="middle">target</text>',
    ]
    for number, row in enumerate(limited):
        top = 30 + number * height
        limit = row.at_least if row.at_least is not None else row.at_most
        assert limit is not None
        width = min((middle - left) * row.ratio / limit, full - left)
        colour = "#2a9d8f" if row.verdict == "reached" else "#e76f51"
        parts += [
            f'<text x="{left - 10}" y="{top + 15}" text-anchor="end">{escape(row.scenario)}</text>',
            f'<rect x="{left}" y="{top}" width="{width:.0f}" height="{height - 8}" fill="{colour}"/>',
            f'<text x="{full + 10}" y="{top + 15}">{row.ratio:.2f} ({escape(row.limit)})</text>',
        ]
    bottom = 30 + len(limited) * height
    parts += [f'<line x1="{middle}" y1="24" x2="{middle}" y2="{bottom}" stroke="#222" stroke-dasharray="4"/>', "</svg>"]
    return "\n".join(parts) + "\n"


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
