"""Pods with a processor each, and nodes of PostgreSQL behind a network."""

from dataclasses import dataclass, replace

import simpy

from bench.simulation.costs import Costs
from bench.simulation.model import Installation, Layout, Request
from bench.simulation.pod import Pod
from bench.simulation.resources import Cores, Process, Steps

RELAY_PERIOD = 0.05

CITUS_HOSTING = 8.0 / 3.6
"""PostgreSQL's time for a group of 18 that enters Citus at the node of the cell, over that of plain PostgreSQL."""

CITUS_PASSING = (10.8 - 3.6) / 3.6
"""The same at another node, without the time of the node that has the cell."""

PLAIN = Layout(callers=64, node_cores=16, skus=100_000, network=0.0003, sync=0.0005, disk=400e6)
"""One PostgreSQL with a schema for everything."""

CITUS = replace(PLAIN, cells=64, hosting=CITUS_HOSTING, passing=CITUS_PASSING)
"""Sixty-four cells that Citus places on the nodes."""


@dataclass(frozen=True)
class Found:
    """Lines per second, latencies in milliseconds, lines in a group, and the share of deferred requests.

    `pod_busy` is the mean share of the pods' processors in use; `node_busy` and `log_megabytes` (a second) are those of
    the busiest node.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    group: float
    deferred: float
    pod_busy: float
    node_busy: float
    log_megabytes: float


class Proxy:
    """Chooses the pod of a request."""

    def __init__(self, whole: Installation, pods: list[Pod]) -> None:
        self._whole, self._pods = whole, pods

    def send(self, request: Request) -> None:
        """Pass the request on."""
        self._pods[self._pod_of(request.key)].receive(request)

    def _pod_of(self, sku: int) -> int:
        layout, count = self._whole.layout, len(self._pods)
        cell, rest = sku % layout.cells, sku // layout.cells
        if layout.routing == "any":
            return self._whole.random.randrange(count)
        if layout.routing == "sku":
            return rest % count
        if count <= layout.cells:
            return cell % count
        # Several pods share a cell.
        return cell + layout.cells * (rest % (count // layout.cells))


def run(costs: Costs, layout: Layout, *, warm_up: float = 0.2, seconds: float = 0.3) -> Found:
    """The highest rate: each caller sends its next request when it has the response to the last one."""
    env = simpy.Environment()
    whole = Installation(env, layout, costs.under_load(), begin=warm_up)
    machines = [Cores(env, 1, wake=whole.costs.wake) for _ in range(layout.pods)]
    pods = [Pod(whole, Process(machine), whole.costs.http) for machine in machines]
    proxy = Proxy(whole, pods)

    def again(count: int) -> Steps:
        yield env.timeout(layout.network)
        for _ in range(count):
            proxy.send(_request(whole))

    def relay(number: int) -> Steps:
        node = whole.nodes[number]
        while True:
            yield env.timeout(RELAY_PERIOD)
            count, node.unpublished = node.unpublished, 0
            yield from node.cores.use(count * whole.costs.relay_postgresql)

    whole.on_answer = lambda group: again(len(group))
    for number in range(layout.nodes):
        env.process(relay(number))
    for _ in range(layout.pods):
        env.process(again(layout.callers))
    env.run(warm_up)
    before = [(each.busy, 0.0) for each in machines], [(node.cores.busy, node.log.written) for node in whole.nodes]
    env.run(warm_up + seconds)
    tally = whole.tally
    nodes = [
        ((node.cores.busy - busy) / seconds / layout.node_cores, (node.log.written - written) / seconds)
        for node, (busy, written) in zip(whole.nodes, before[1], strict=True)
    ]
    return Found(
        rate=tally.lines / seconds,
        p50_ms=1000 * tally.quantile(0.5),
        p99_ms=1000 * tally.quantile(0.99),
        group=tally.lines / max(tally.groups, 1),
        deferred=tally.deferred / max(len(tally.latencies), 1),
        pod_busy=sum(m.busy - b for m, (b, _) in zip(machines, before[0], strict=True)) / seconds / layout.pods,
        node_busy=max(busy for busy, _ in nodes),
        log_megabytes=max(written for _, written in nodes) / 1e6,
    )


def _request(whole: Installation) -> Request:
    """A line of a product, or an order of two lines in different cells."""
    layout, draw = whole.layout, whole.random.random
    sku = 0 if layout.hot and draw() < layout.hot else int(draw() * layout.skus)
    if layout.across and draw() < layout.across:
        other = (sku + 1 + int(draw() * (layout.cells - 1))) % layout.skus
        return Request(whole.env.now, (sku, other))
    return Request(whole.env.now, (sku,))
