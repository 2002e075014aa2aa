from collections.abc import Callable
from dataclasses import replace

import pytest
import simpy

from bench.simulation import check
from bench.simulation.cluster import CITUS, PLAIN, run
from bench.simulation.costs import derive
from bench.simulation.resources import Cores, Locks, Log, Process, Steps

LATENCY_FARTHER_OFF = "latency at half of the highest rate, p99 over p50"
"""What docs/scaling.md says the model does not reach within 20%. It is a latency, not a rate."""


def times(env: simpy.Environment, *actors: Callable[[], Steps]) -> list[float]:
    """When each actor ends, in seconds."""
    ends = [0.0] * len(actors)

    def observed(number: int) -> Steps:
        yield from actors[number]()
        ends[number] = env.now

    for number in range(len(actors)):
        env.process(observed(number))
    env.run()
    return ends


def test_the_model_is_within_20_percent_of_every_measured_rate() -> None:
    compared = check.compare(derive(), seconds=1.0)
    assert {each.scenario for each in compared if not each.is_close} == {LATENCY_FARTHER_OFF}


def test_a_flush_takes_one_of_the_measured_times() -> None:
    env = simpy.Environment()
    log = Log(env, sync=1.0, bytes_per_second=1000, spread=(0.5, 1.5))

    def commits() -> Steps:
        for _ in range(8):
            began = env.now
            yield log.flush(0)
            assert env.now - began in {0.5, 1.5}

    assert 4.0 < times(env, commits)[0] < 12.0


def test_a_flush_serves_all_commits_that_wait_when_it_begins() -> None:
    env = simpy.Environment()
    log = Log(env, sync=1.0, bytes_per_second=1000)

    def commit(at: float) -> Steps:
        yield env.timeout(at)
        yield log.flush(100)

    ends = times(env, lambda: commit(0), lambda: commit(0.2), lambda: commit(0.9))
    assert ends == pytest.approx([1.1, 2.3, 2.3])


def test_a_row_is_locked_in_the_order_of_the_calls_and_skipped_by_a_shared_group() -> None:
    env = simpy.Environment()
    cores, locks = Cores(env, 1), Locks(env)

    def transaction(at: float) -> Steps:
        yield env.timeout(at)
        yield from locks.lock(1)
        assert not locks.lock_if_free(1)
        yield env.timeout(1.0)
        locks.release(1, cores)

    assert times(env, *(lambda at=at: transaction(at) for at in (0.2, 0.1, 0.0))) == pytest.approx([3.0, 2.0, 1.0])
    assert locks.lock_if_free(1)


def test_a_commit_wakes_up_all_sessions_that_wait_for_the_row() -> None:
    env = simpy.Environment()
    cores, locks = Cores(env, 1), Locks(env, requeue=0.1)

    def transaction() -> Steps:
        yield from locks.lock(1)
        yield from cores.use(1.0)
        locks.release(1, cores)

    # The three that wait, the two, and the last one: each release takes the processor from the next holder.
    assert times(env, *[transaction] * 4) == pytest.approx([1.0, 2.3, 3.5, 4.6])


def test_a_process_that_slept_costs_more_on_a_processor_that_has_nothing_to_do() -> None:
    env = simpy.Environment()
    cores = Cores(env, 1, wake=0.5)
    process = Process(cores)

    def works() -> Steps:
        yield env.timeout(1.0)
        yield from process.use(1.0)
        yield from process.use(1.0)
        yield env.timeout(1.0)
        yield from process.use(1.0)

    assert times(env, works) == pytest.approx([6.0])
    assert process.used == pytest.approx(4.0)


def test_two_busy_processors_are_slower_only_while_both_are_busy() -> None:
    env = simpy.Environment()
    cores = Cores(env, 2, contention=0.5)
    assert cores.reserve(1.0) == pytest.approx((1.0, 1.0))
    assert cores.reserve(1.0) == pytest.approx((1.5, 1.5))
    # The first one was slower too, which delays what comes next on its processor.
    assert cores.reserve(1.0) == pytest.approx((1.0, 2.5))


def test_traffic_over_many_cells_costs_a_pod_most_of_its_rate_unless_the_proxy_sends_it_by_cell() -> None:
    layout = replace(CITUS, nodes=4, pods=16, cells=16)
    by_rule = {rule: run(derive(), replace(layout, routing=rule), seconds=0.3).rate for rule in ("any", "sku", "cell")}
    assert by_rule["cell"] > 2 * max(by_rule["any"], by_rule["sku"])


def test_an_order_over_cells_is_a_group_of_its_own_and_costs_more_than_its_lines() -> None:
    layout = replace(CITUS, nodes=4, pods=8, routing="cell")
    lines, some, only = (run(derive(), replace(layout, across=share), seconds=0.3) for share in (0.0, 0.1, 1.0))
    assert some.rate < 0.8 * lines.rate
    assert only.group == pytest.approx(2.0, rel=0.02)


def test_one_row_limits_a_hot_sku_however_many_pods_there_are() -> None:
    hot = replace(PLAIN, hot=1.0)
    few, many = (run(derive(), replace(hot, pods=pods), warm_up=1, seconds=1).rate for pods in (16, 32))
    assert many < 1.2 * few
