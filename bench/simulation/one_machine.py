"""The measured case: one machine whose two cores serve everything."""

from dataclasses import dataclass

import simpy

from bench.simulation.costs import Costs
from bench.simulation.model import Installation, Layout, Request
from bench.simulation.pod import Pod
from bench.simulation.resources import Cores, Locks, Log, Process, Steps

CORES = 2
WARM_UP = 0.3
RELAY_PERIOD = 0.05


@dataclass(frozen=True)
class Found:
    """Lines per second, latencies in milliseconds, lines in a group, and processor time of a line in microseconds."""

    rate: float
    p50_ms: float
    p99_ms: float
    group: float
    service_micros: float


def run(
    costs: Costs,
    layout: Layout,
    *,
    http: float,
    caller: float,
    relay: bool = False,
    offered: float = 0.0,
    seconds: float = 3.0,
) -> Found:
    """The rate of one process of the service, with or without the background work.

    `http` and `caller` are the processor time of a request in the service and in the load generator, in seconds. With
    `offered`, requests arrive at this rate a second, in place of callers that wait for their answers.
    """
    env = simpy.Environment()
    machine = Cores(env, CORES, costs.contention)
    whole = Installation(env, layout, costs, machine=machine, begin=WARM_UP)
    processes, generator = [Process(machine) for _ in range(layout.pods)], Process(machine)
    pods = [Pod(whole, process, http) for process in processes]

    def next_request(since: float) -> Request:
        first = whole.random.randrange(layout.skus)
        return Request(since, tuple((first + line) % layout.skus for line in range(layout.lines)))

    def again(count: int) -> Steps:
        yield from generator.use(count * caller)
        for _ in range(count):
            whole.random.choice(pods).receive(next_request(env.now))

    def arrivals() -> Steps:
        due = 0.0
        while True:
            while due <= env.now:
                pods[0].receive(next_request(due))
                due += 1 / offered
            env.process(generator.use(caller))
            yield env.timeout(max(due - env.now, 0.001))

    if offered:
        env.process(arrivals())
    else:
        whole.on_answer = lambda group: again(len(group))
        env.process(again(layout.callers))
    if relay:
        env.process(_relay(whole, Process(machine), Process(machine), Process(machine)))
    env.run(WARM_UP)
    used_before = sum(each.used for each in processes)
    env.run(WARM_UP + seconds)
    tally = whole.tally
    lines = tally.published if relay else tally.lines
    return Found(
        lines / seconds,
        1000 * tally.quantile(0.5),
        1000 * tally.quantile(0.99),
        tally.lines / max(tally.groups, 1),
        1e6 * (sum(each.used for each in processes) - used_before) / max(tally.lines, 1),
    )


def _relay(whole: Installation, relay: Process, broker: Process, session: Process) -> Steps:
    """Rounds of the relay and of the notifier behind it."""
    env, costs = whole.env, whole.costs
    while True:
        yield env.timeout(RELAY_PERIOD)
        count, whole.nodes[0].unpublished = whole.nodes[0].unpublished, 0
        yield from session.use(count * costs.relay_postgresql)
        sending = env.process(broker.use(count * costs.broker))
        yield from relay.use(count * costs.relay)
        yield sending
        if env.now >= whole.tally.begin:
            whole.tally.published += count


def no_op(costs: Costs, *, caller: float, callers: int = 64, seconds: float = 1.0) -> float:
    """Requests per second of the route that does nothing."""
    env = simpy.Environment()
    machine = Cores(env, CORES, costs.contention)
    server, generator = Process(machine), Process(machine)
    done = 0

    def client() -> Steps:
        nonlocal done
        while True:
            yield from generator.use(caller)
            yield from server.use(costs.no_op)
            done += 1

    for _ in range(callers):
        env.process(client())
    env.run(seconds)
    return done / seconds


def sql(costs: Costs, skus: int, *, clients: int = 16, seconds: float = 2.0) -> float:
    """Transactions per second of the hand-written SQL, one allocation in each."""
    env = simpy.Environment()
    machine = Cores(env, CORES, costs.contention)
    whole = Installation(env, Layout(skus=skus), costs, machine=machine)
    locks, log = Locks(env), Log(env, costs.sync, whole.layout.disk)
    done = 0

    def client() -> Steps:
        nonlocal done
        while True:
            sku = whole.random.randrange(skus)
            yield from machine.use(0.2 * costs.sql)
            yield from locks.lock(sku)
            yield from machine.use(0.8 * costs.sql)
            yield log.flush(costs.wal_of_line)
            locks.release(sku)
            done += 1

    for _ in range(clients):
        env.process(client())
    env.run(seconds)
    return done / seconds
