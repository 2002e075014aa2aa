"""The drawing as SVG: how far the model is off, then lines per second and p99 of each curve, on logarithmic scales."""

import math
from collections.abc import Callable, Sequence
from html import escape

from bench.simulation.check import WITHIN, Comparison
from bench.simulation.cluster import Found
from bench.simulation.scale import Chart

WIDTH, HEIGHT, LEFT, TOP, COLUMN, MARGIN = 400, 230, 90, 50, 540, 40
LEGEND, STEP = 52, 18
"""The distance of a chart's legend from its lower end, and that of two lines of text."""

COLOURS = ("#000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777")
DASHES = ("none", "7 3", "2 3", "10 3 2 3", "none", "4 4")
"""Curves that lie on each other differ by their dashes."""

NAMES, SPAN = 560, 0.4
"""The width of the names of the comparisons, and the largest deviation that has room."""


def draw(comparisons: Sequence[Comparison], charts: Sequence[Chart]) -> str:
    """The comparisons, then one row for each chart: lines per second on the left, p99 on the right."""
    parts = _deviations(comparisons)
    top = TOP + STEP * (len(comparisons) + 4)
    for chart in charts:
        parts += _panel(chart, "lines/s", lambda each: each.rate, LEFT, top + TOP)
        parts += _panel(chart, "p99, ms", lambda each: each.p99_ms, COLUMN + LEFT, top + TOP)
        top += TOP + HEIGHT + LEGEND + STEP * len(chart.curves)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * COLUMN + MARGIN}" height="{top + STEP}">',
            "<style>text { font: 13px sans-serif; fill: #222 }</style>",
            '<rect width="100%" height="100%" fill="#fff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _deviations(comparisons: Sequence[Comparison]) -> list[str]:
    """A point for each scenario, beside the limits of 20%."""
    left, width, bottom = NAMES, 2 * COLUMN - NAMES - 130, TOP + STEP * len(comparisons)

    def x(deviation: float) -> float:
        return left + width * (max(-SPAN, min(SPAN, deviation)) + SPAN) / (2 * SPAN)

    band, height = x(WITHIN) - x(-WITHIN), bottom - TOP + 10
    parts = [
        f'<text x="{NAMES - 10}" y="{TOP - 24}" text-anchor="end">The model beside the measured figures</text>',
        f'<rect x="{x(-WITHIN):.0f}" y="{TOP - 10}" width="{band:.0f}" height="{height}" fill="#e8f3ee"/>',
    ]
    for at in (-WITHIN, 0.0, WITHIN):
        parts += [
            f'<line x1="{x(at):.0f}" y1="{TOP - 10}" x2="{x(at):.0f}" y2="{bottom}" stroke="#888"/>',
            f'<text x="{x(at):.0f}" y="{TOP - 24}" text-anchor="middle">{_percent(at)}</text>',
        ]
    for number, each in enumerate(comparisons):
        y = TOP + STEP * number + 8
        fill = "#fff" if each.is_fitted else COLOURS[1] if each.is_close else COLOURS[2]
        note = _percent(each.deviation) + (" fitted" if each.is_fitted else "")
        parts += [
            f'<text x="{NAMES - 10}" y="{y + 4}" text-anchor="end">{escape(each.scenario)}</text>',
            f'<circle cx="{x(each.deviation):.0f}" cy="{y}" r="5" fill="{fill}" stroke="{COLOURS[1]}"/>',
            f'<text x="{left + width + 10}" y="{y + 4}">{note}</text>',
        ]
    return parts


def _panel(chart: Chart, unit: str, value: Callable[[Found], float], left: int, top: int) -> list[str]:
    points = [(at, value(each)) for curve in chart.curves.values() for at, each in curve]
    low, high = _decades([each for _, each in points])
    first, last = _position(chart, min(at for at, _ in points)), _position(chart, max(at for at, _ in points))

    def x(at: float) -> float:
        return left + WIDTH * (_position(chart, at) - first) / (last - first)

    def y(each: float) -> float:
        return top + HEIGHT * (high - math.log10(each)) / (high - low)

    parts = [f'<text x="{left}" y="{top - 14}">{escape(chart.title)}: {escape(unit)}</text>']
    for decade in range(low, high + 1):
        at = y(10**decade)
        parts += [
            f'<line x1="{left}" y1="{at:.0f}" x2="{left + WIDTH}" y2="{at:.0f}" stroke="#ccc"/>',
            f'<text x="{left - 8}" y="{at + 4:.0f}" text-anchor="end">{10**decade:,}</text>',
        ]
    for at in sorted({at for at, _ in points}):
        label = f"{at:.0%}" if chart.across == "share" else f"{at:g}"
        parts.append(f'<text x="{x(at):.0f}" y="{top + HEIGHT + 18}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{left + WIDTH + 24}" y="{top + HEIGHT + 18}">{chart.across}</text>')
    for number, (name, curve) in enumerate(chart.curves.items()):
        stroke = f'stroke="{COLOURS[number]}" stroke-width="2" stroke-dasharray="{DASHES[number]}"'
        line = " ".join(f"{x(at):.0f},{y(value(each)):.0f}" for at, each in curve)
        at_legend = top + HEIGHT + LEGEND - 10 + STEP * number
        parts += [
            f'<polyline points="{line}" fill="none" {stroke}/>',
            *(
                f'<circle cx="{x(at):.0f}" cy="{y(value(each)):.0f}" r="3" fill="{COLOURS[number]}"/>'
                for at, each in curve
            ),
            f'<line x1="{left}" y1="{at_legend - 4}" x2="{left + 40}" y2="{at_legend - 4}" {stroke}/>',
            f'<text x="{left + 48}" y="{at_legend}">{escape(name)}</text>',
        ]
    return parts


def _percent(deviation: float) -> str:
    return f"{deviation:+.0%}" if round(deviation, 2) else "0%"


def _position(chart: Chart, at: float) -> float:
    return at if chart.across == "share" else math.log2(at)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low = math.floor(math.log10(min(values)))
    return low, max(math.ceil(math.log10(max(values))), low + 1)
