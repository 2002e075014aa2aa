"""The installation: its layout, the nodes of PostgreSQL with their cells, and what is counted."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import simpy

from bench.simulation.costs import Costs, Step
from bench.simulation.resources import Cores, Locks, Log, Steps


class Request(NamedTuple):
    """A command: when its caller sent it, its products, and how many lines it has."""

    since: float
    skus: tuple[int, ...]

    @property
    def key(self) -> int:
        """The product whose worker and cell the command belongs to."""
        return self.skus[0]


@dataclass(frozen=True)
class Layout:
    """An installation; times in seconds, `disk` in bytes per second.

    `routing` says how a proxy chooses the pod: "any", by "sku", or by "cell". `hot` is the share of requests on one
    SKU, `across` that of orders of two lines in different cells, for which a pod may have `across_workers` beside its
    `workers`. PostgreSQL's time is multiplied by `hosting` where a statement enters at the node of the cell; elsewhere
    the entry node needs `passing` of it in addition. `sync` is the time of a flush, `prepare` a node's processor time
    for each phase of a two-phase commit.
    """

    pods: int = 1
    callers: int = 64
    workers: int = 2
    across_workers: int = 0
    nodes: int = 1
    cells: int = 1
    node_cores: int = 16
    skus: int = 1000
    messages: bool = False
    hot: float = 0.0
    lines: int = 1
    across: float = 0.0
    routing: str = "any"
    network: float = 0.0
    sync: float | None = None
    disk: float = 400e6
    hosting: float = 1.0
    passing: float = 0.0
    right_entry: bool = True
    prepare: float = 0.0001


@dataclass
class Node:
    """One PostgreSQL."""

    cores: Cores
    log: Log
    unpublished: int = 0


@dataclass
class Tally:
    """Counts after the warm-up; latencies in seconds, `published` in lines."""

    begin: float
    lines: int = 0
    latencies: list[float] = field(default_factory=list)
    groups: int = 0
    deferred: int = 0
    published: int = 0

    def quantile(self, share: float) -> float:
        """A quantile of the latencies."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


class Installation:
    """Nodes of PostgreSQL, and what all pods share."""

    def __init__(
        self, env: simpy.Environment, layout: Layout, costs: Costs, *, machine: Cores | None = None, begin: float = 0.0
    ) -> None:
        """`machine` has the processors of everything, if all runs on one."""
        self.env, self.layout, self.costs = env, layout, costs
        self.random = random.Random(1)
        self.tally = Tally(begin)
        self.locks = Locks(env, costs.requeue)
        sync = costs.sync if layout.sync is None else layout.sync
        self.nodes = [
            Node(machine or Cores(env, layout.node_cores, wake=costs.wake), Log(env, sync, layout.disk, costs.flushes))
            for _ in range(layout.nodes)
        ]
        self.on_answer: Callable[[list[Request]], Steps] = _leave

    def node_of(self, sku: int) -> int:
        """The number of the node that has the product's cell."""
        return sku % self.layout.cells % self.layout.nodes

    def statement(self, step: Step, lines: float, nodes: tuple[int, ...], entry: int) -> Steps:
        """One round trip, `lines` seconds for all lines; on several nodes, one statement for each."""
        layout, costs = self.layout, self.costs
        work = step.postgresql * costs.group_postgresql + step.postgresql_lines * lines
        for number in nodes:
            yield from self.network()
            yield from self.nodes[number].cores.use(work * (layout.hosting if number == entry else 1.0))
            if number != entry:
                yield from self.network()
                yield from self.nodes[entry].cores.use(work * layout.passing)

    def commit(self, lines: int, nodes: tuple[int, ...]) -> Steps:
        """One COMMIT; on several nodes PREPARE on each, the decision at the entry, and COMMIT PREPARED on each."""
        size = self.costs.wal_of_group + lines * self.costs.wal_of_line
        yield from self.network()
        if len(nodes) == 1:
            yield self.nodes[nodes[0]].log.flush(size)
            return
        for phase in (nodes, nodes[:1], nodes):
            yield from self.network()
            flushes = []
            for number in phase:
                self.nodes[number].cores.reserve(self.layout.prepare)
                flushes.append(self.nodes[number].log.flush(size / len(nodes)))
            yield simpy.AllOf(self.env, flushes)

    def release(self, sku: int) -> None:
        """Unlock the product."""
        self.locks.release(sku, self.nodes[self.node_of(sku)].cores)

    def network(self) -> Steps:
        """A round trip over the network."""
        if self.layout.network:
            yield self.env.timeout(self.layout.network)

    def answered(self, group: list[Request]) -> None:
        """Count the answers."""
        now = self.env.now
        if now >= self.tally.begin:
            self.tally.lines += sum(len(each.skus) for each in group)
            self.tally.latencies += [now - each.since for each in group]


def _leave(_: list[Request]) -> Steps:
    """A caller that sends no other request."""
    yield from ()
