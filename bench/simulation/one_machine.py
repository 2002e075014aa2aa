"""The measured case: one machine whose two cores serve everything."""

from dataclasses import dataclass

import simpy

from bench.simulation.costs import SQL_STATEMENTS, Costs
from bench.simulation.model import Installation, Layout, Request
from bench.simulation.pod import Pod
from bench.simulation.resources import Cores, Process, Steps

CORES = 2
WARM_UP = 0.3
RELAY_PERIOD = 0.05


@dataclass(frozen=True)
class Found:
    """Lines per second, latencies in milliseconds, lines in a group, and processor time of a line in microseconds.

    `service_micros` are those of the processes with HTTP and the bus, `background_micros` those of relay and notifier.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    group: float
    service_micros: float
    background_micros: float
    postgresql_micros: float


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
    machine = Cores(env, CORES, costs.contention, costs.wake)
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
    background, broker = Process(machine), Process(machine)
    if relay:
        env.process(_relay(whole, background, broker, Process(machine)))

    def used() -> list[float]:
        others = background.used + broker.used + generator.used
        service = sum(each.used for each in processes)
        return [service, background.used, machine.busy - service - others]

    env.run(WARM_UP)
    before = used()
    env.run(WARM_UP + seconds)
    tally = whole.tally
    lines = tally.published if relay else tally.lines
    return Found(
        lines / seconds,
        1000 * tally.quantile(0.5),
        1000 * tally.quantile(0.99),
        tally.lines / max(tally.groups, 1),
        *(1e6 * (after - at_first) / max(tally.lines, 1) for after, at_first in zip(used(), before, strict=True)),
    )


def _relay(whole: Installation, relay: Process, broker: Process, session: Process) -> Steps:
    """Rounds of the relay and of the notifier behind it."""
    env, costs = whole.env, whole.costs
    while True:
        yield env.timeout(RELAY_PERIOD)
        count, whole.nodes[0].unpublished = whole.nodes[0].unpublished, 0
        yield from session.use(count * costs.relay_postgresql)
        sending = env.process(broker.use(costs.broker_round + count * costs.broker))
        yield from relay.use(costs.relay_round + count * costs.relay)
        yield sending
        if env.now >= whole.tally.begin:
            whole.tally.published += count


def no_op(costs: Costs, *, caller: float, callers: int = 64, seconds: float = 1.0) -> float:
    """Requests per second of the route that does nothing."""
    env = simpy.Environment()
    machine = Cores(env, CORES, costs.contention, costs.wake)
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
    machine = Cores(env, CORES, costs.contention, costs.wake)
    whole = Installation(env, Layout(skus=skus), costs, machine=machine)
    log, pgbench = whole.nodes[0].log, Process(machine)
    done = 0

    def statements(count: int) -> Steps:
        for _ in range(count):
            yield from pgbench.use(costs.sql_client / SQL_STATEMENTS)
            yield from machine.use(costs.sql_postgresql / SQL_STATEMENTS)

    def client() -> Steps:
        nonlocal done
        while True:
            sku = whole.random.randrange(skus)
            # BEGIN, and the statement that locks the row.
            yield from statements(1)
            yield from pgbench.use(costs.sql_client / SQL_STATEMENTS)
            yield from whole.locks.lock(sku)
            yield from machine.use(costs.sql_postgresql / SQL_STATEMENTS)
            yield from statements(SQL_STATEMENTS - 2)
            yield log.flush(costs.wal_of_line)
            whole.release(sku)
            done += 1

    for _ in range(clients):
        env.process(client())
    env.run(seconds)
    return done / seconds
