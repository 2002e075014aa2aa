"""The charts as SVG: lines per second and p99 of each curve, on logarithmic scales."""

import math
from collections.abc import Callable, Sequence
from html import escape

from bench.simulation.cluster import Found
from bench.simulation.scale import Chart

WIDTH, HEIGHT, LEFT, TOP = 400, 230, 70, 50
COLUMN, ROW = 540, 420
COLOURS = ("#888", "#264653", "#2a9d8f", "#c9a227", "#f4a261", "#e76f51")


def draw(charts: Sequence[Chart]) -> str:
    """One row for each chart: lines per second on the left, p99 on the right."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * COLUMN}" height="{ROW * len(charts)}">',
        "<style>text { font: 13px sans-serif }</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for row, chart in enumerate(charts):
        parts += _panel(chart, "lines/s", lambda each: each.rate, LEFT, row * ROW + TOP)
        parts += _panel(chart, "p99, ms", lambda each: each.p99_ms, COLUMN + LEFT, row * ROW + TOP)
    return "\n".join([*parts, "</svg>"]) + "\n"


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
            f'<text x="{left - 6}" y="{at + 4:.0f}" text-anchor="end">{10**decade:,}</text>',
        ]
    for at in sorted({at for at, _ in points}):
        label = f"{at:.0%}" if chart.across == "share" else f"{at:g}"
        parts.append(f'<text x="{x(at):.0f}" y="{top + HEIGHT + 18}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{left + WIDTH}" y="{top + HEIGHT + 34}" text-anchor="end">{chart.across}</text>')
    for number, (name, curve) in enumerate(chart.curves.items()):
        colour = COLOURS[number]
        line = " ".join(f"{x(at):.0f},{y(value(each)):.0f}" for at, each in curve)
        parts += [
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>',
            *(f'<circle cx="{x(at):.0f}" cy="{y(value(each)):.0f}" r="3" fill="{colour}"/>' for at, each in curve),
            f'<text x="{left}" y="{top + HEIGHT + 34 + 15 * number}" fill="{colour}">{escape(name)}</text>',
        ]
    return parts


def _position(chart: Chart, at: float) -> float:
    return at if chart.across == "share" else math.log2(at)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low = math.floor(math.log10(min(values)))
    return low, max(math.ceil(math.log10(max(values))), low + 1)
