"""Installations that were not measured: more pods, more nodes, orders over cells, a hot SKU."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bench.simulation.cluster import CITUS, PLAIN, Found, run
from bench.simulation.costs import Costs
from bench.simulation.model import Layout

PODS = (1, 4, 16, 64, 256)
CELLS = (1, 4, 16, 64, 256)
NODES = (1, 4, 16, 64)
ACROSS = (0.0, 0.05, 0.1, 0.2, 0.3)
BY_CELL = replace(CITUS, routing="cell")


@dataclass(frozen=True)
class Chart:
    """Curves over one parameter: a name and its points."""

    title: str
    across: str
    curves: dict[str, list[tuple[float, Found]]]


def charts(costs: Costs, say: Callable[[str], None]) -> list[Chart]:
    """All simulated installations."""
    by_pods = {"one PostgreSQL, any pod": PLAIN, "one PostgreSQL, pod by SKU": replace(PLAIN, routing="sku")} | {
        f"64 cells on {nodes} node{'s' * (nodes > 1)}, pod by cell": replace(BY_CELL, nodes=nodes) for nodes in NODES
    }
    by_rule = {
        "pod by cell": replace(BY_CELL, nodes=16),
        "pod by cell, entry at any node": replace(BY_CELL, nodes=16, right_entry=False),
        "pod by SKU": replace(CITUS, nodes=16, routing="sku"),
        "any pod": replace(CITUS, nodes=16),
    }
    by_cells = {f"one node, {pods} pods, pod by cell": replace(BY_CELL, pods=pods) for pods in (4, 16)}
    by_share = {
        "16 nodes, 64 pods": replace(BY_CELL, nodes=16, pods=64),
        "16 nodes, 64 pods, 4 workers a pod": replace(BY_CELL, nodes=16, pods=64, workers=4),
        "16 nodes, 64 pods, 2 workers and 4 for these orders": replace(BY_CELL, nodes=16, pods=64, across_workers=4),
        "64 nodes, 256 pods": replace(BY_CELL, nodes=64, pods=256),
    }
    hot = {"any pod": replace(PLAIN, hot=1.0), "pod by SKU": replace(PLAIN, hot=1.0, routing="sku")}

    def over(
        values: tuple[float, ...], layouts: dict[str, Layout], name: str, ask: Callable[[Costs, Layout], Found] = run
    ) -> dict[str, list[tuple[float, Found]]]:
        curves: dict[str, list[tuple[float, Found]]] = {}
        for label, layout in layouts.items():
            say(label)
            curves[label] = [(value, ask(costs, _with(layout, name, value))) for value in values]
        return curves

    return [
        Chart("64 cells on nodes, and one PostgreSQL without cells", "pods", over(PODS, by_pods, "pods")),
        Chart("16 nodes with 64 cells, by the rule of the proxy", "pods", over(PODS, by_rule, "pods")),
        Chart("Number of cells", "cells", over(CELLS, by_cells, "cells")),
        Chart("Share of orders of two lines in two cells", "share", over(ACROSS, by_share, "across")),
        # All callers wait for one row: it takes seconds until the queues no longer grow.
        Chart(
            "All requests on one SKU, one PostgreSQL",
            "pods",
            over(PODS, hot, "pods", partial(run, warm_up=2, seconds=2)),
        ),
    ]


def _with(layout: Layout, name: str, value: float) -> Layout:
    change: dict[str, Any] = {name: value}
    return replace(layout, **change)


def table(found: list[Chart]) -> str:
    """The simulated installations as text."""
    lines = []
    for chart in found:
        lines.append(f"\n{chart.title}")
        lines.append(
            f"{'':<54} {chart.across:>6} {'lines/s':>9} {'p50 ms':>7} {'p99 ms':>7} {'group':>6} {'deferred':>8} "
            f"{'pods':>5} {'nodes':>5} {'WAL MB/s':>8}"
        )
        lines += [
            f"{name:<54} {at:>6g} {each.rate:>9,.0f} {each.p50_ms:>7.0f} {each.p99_ms:>7.0f} {each.group:>6.1f} "
            f"{each.deferred:>8.1%} {each.pod_busy:>5.0%} {each.node_busy:>5.0%} {each.log_megabytes:>8.1f}"
            for name, points in chart.curves.items()
            for at, each in points
        ]
    return "\n".join(lines)
