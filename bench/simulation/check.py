"""The model beside the measured figures, each as a ratio within one run."""

from dataclasses import dataclass, replace
from functools import partial

from bench.simulation.costs import ROUND_TRIPS, Costs, measured_ratios
from bench.simulation.model import Layout
from bench.simulation.one_machine import no_op, run, sql

WITHIN = 0.2
"""How far the model may be from what was measured."""

WRK, PYTHON_CLIENT = 12e-6, 35e-6
"""The processor time of a request in `wrk` and in the benchmark's own client, in seconds: measured."""


@dataclass(frozen=True)
class Comparison:
    """A ratio that was measured, and what the model says."""

    scenario: str
    measured: float
    simulated: float
    is_fitted: bool

    @property
    def deviation(self) -> float:
        """How far the model is off, as a share of the measured ratio."""
        return self.simulated / self.measured - 1

    @property
    def is_close(self) -> bool:
        """Whether the model is within 20%."""
        return abs(self.deviation) <= WITHIN


def compare(costs: Costs, seconds: float = 2.0) -> list[Comparison]:
    """All comparisons; each scenario runs for this simulated time."""
    many, hot = Layout(), Layout(skus=1)
    wrk = partial(run, costs, http=costs.http, caller=WRK, seconds=seconds)
    client = partial(run, costs, http=costs.http, caller=PYTHON_CLIENT, seconds=seconds)
    bus = partial(run, costs, http=costs.submit, caller=0.0, seconds=seconds)
    idle_route, client_route = no_op(costs, caller=WRK), no_op(costs, caller=PYTHON_CLIENT)
    sql_many, sql_hot, sql_lone = sql(costs, 1000), sql(costs, 1), sql(costs, 1000, clients=1)
    bus_many, bus_hot = (bus(replace(each, callers=256)) for each in (many, hot))
    serve, product = client(many), wrk(many, relay=True)
    orders = client(replace(many, lines=5))
    half = client(many, offered=serve.rate / 2)
    # The consumer handles 256 messages as one group while the next ones arrive. There is no notifier.
    consumer = run(
        replace(costs, relay=costs.relay / 2, relay_round=costs.relay_round / 2),
        replace(many, messages=True, workers=1, callers=512),
        http=costs.consume,
        caller=0.0,
        relay=True,
        seconds=seconds,
    )
    alone = {size: _group_alone(costs, size) for size in (18, 100)}
    simulated = {
        "Kafka in to out, over SQL": consumer.rate / sql_many,
        "processor time of PostgreSQL for a line, over the SQL baseline": product.postgresql_micros
        / (1e6 * costs.under_load().sql_postgresql),
        "processor time of the service for a line, over the no-op route": (
            product.service_micros + product.background_micros
        )
        / (1e6 * costs.no_op),
        "processor time of `serve` for a POST, over the no-op route": wrk(many).service_micros / (1e6 * costs.no_op),
        "SQL, 16 clients on 1,000 SKUs, over a lone one": sql_many / sql_lone,
        "SQL, 16 clients on one hot SKU, over a lone one": sql_hot / sql_lone,
        "bus alone, 1,000 SKUs, over SQL": bus_many.rate / sql_many,
        "bus alone, one hot SKU, over SQL": bus_hot.rate / sql_hot,
        "bus alone, one hot SKU, over 1,000 SKUs": bus_hot.rate / bus_many.rate,
        "a lone command on the bus, ms": bus(replace(many, callers=1)).p50_ms,
        "a group of 100 on the bus, ms": 1000 * (alone[100] + costs.sync),
        "processor time of Python and PostgreSQL for a group of 18, over the no-op route": alone[18] / costs.no_op,
        "POST with `serve`, over the no-op route": serve.rate / client_route,
        "the same on one hot SKU, over 1,000 SKUs": client(hot).rate / serve.rate,
        "POST with 2 workers, over 1": client(replace(many, pods=2)).rate / serve.rate,
        "orders of five lines, lines/s over single lines": orders.rate / serve.rate,
        "whole product, 1,000 SKUs, over the no-op route": product.rate / idle_route,
        "whole product, one hot SKU, over 1,000 SKUs": wrk(hot, relay=True).rate / product.rate,
        "a lone POST, latency over a lone SQL transaction": sql_lone / wrk(replace(many, callers=1), relay=True).rate,
        "latency at half of the highest rate, p99 over p50": half.p99_ms / half.p50_ms,
    }
    return [
        Comparison(scenario, each["measured"], simulated[scenario], bool(each.get("fitted")))
        for scenario, each in measured_ratios().items()
    ]


def _group_alone(costs: Costs, size: int) -> float:
    """The processor time in seconds of a group of as many SKUs, while there is no other."""
    work = costs.work(size, size)
    lines = work.python + work.postgresql
    return costs.group_python + costs.group_postgresql + lines + 2 * ROUND_TRIPS * costs.wake
