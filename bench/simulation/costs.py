"""The costs of each step in seconds, derived from measured figures."""

import json
import statistics
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

MEASURED = Path(__file__).with_name("measured.json")


@dataclass(frozen=True)
class Step:
    """A round trip of a group: shares of the four costs of a group that it has."""

    python: float
    python_lines: float
    postgresql: float
    postgresql_lines: float


BEGIN = Step(0.2, 0.0, 0.05, 0.0)
NAMES = Step(0.2, 0.05, 0.2, 0.1)
"""The identities of messages, or the locks of orders: only where there are any."""
LOCK = Step(0.2, 0.05, 0.2, 0.1)
READ = Step(0.2, 0.05, 0.25, 0.2)
WRITE = Step(0.2, 0.7, 0.45, 0.7)
COMMIT = Step(0.1, 0.0, 0.05, 0.0)
OUTCOMES = Step(0.1, 0.2, 0.0, 0.0)
"""The responses are handed out; no round trip."""

ROUND_TRIPS = 5
"""Round trips of a group without orders and messages. Each wakes up a session, and then the service."""

SQL_STATEMENTS = 8
"""Round trips of the SQL baseline. Each wakes up a session, and then pgbench."""

ROUNDS = 20
"""Rounds of the relay in a second under load."""


class Work(NamedTuple):
    """The processor time of all lines of a group, in seconds."""

    python: float
    postgresql: float


@dataclass(frozen=True)
class Costs:
    """Processor time in seconds, on a processor that is awake and whose neighbours are idle.

    A group costs a fixed time, and a time for each line: in Python, and in PostgreSQL. `repeated` is the part of a
    line's time that is left if the group has another line of the same SKU. An order of several lines adds its own
    time, and what its further lines need beyond single ones.
    """

    no_op: float
    http: float
    order_http: float
    further_line_http: float
    submit: float
    consume: float
    group_python: float
    line_python: float
    order_python: float
    further_line_python: float
    group_postgresql: float
    line_postgresql: float
    order_postgresql: float
    repeated_python: float
    repeated_postgresql: float
    relay: float
    relay_round: float
    relay_postgresql: float
    broker: float
    broker_round: float
    sql_postgresql: float
    sql_client: float
    requeue: float
    wake: float
    sync: float
    contention: float
    wal_of_line: float
    wal_of_group: float
    flushes: tuple[float, ...]

    def under_load(self) -> "Costs":
        """The same on processors whose neighbours are always busy."""
        others = {
            "repeated_python",
            "repeated_postgresql",
            "sync",
            "contention",
            "wal_of_line",
            "wal_of_group",
            "flushes",
        }
        times = {each.name for each in fields(self)} - others
        slower = {name: getattr(self, name) * (1 + self.contention) for name in times}
        return replace(self, **slower, contention=0.0)

    def work(self, lines: int, skus: int, *, orders: int = 0, further_lines: int = 0) -> Work:
        """The work of a group: lines of as many SKUs; `further_lines` are those of orders without the first."""
        python = (self.repeated_python * lines + (1 - self.repeated_python) * skus) * self.line_python
        postgresql = (self.repeated_postgresql * lines + (1 - self.repeated_postgresql) * skus) * self.line_postgresql
        return Work(
            python + orders * self.order_python + further_lines * self.further_line_python,
            postgresql + orders * self.order_postgresql,
        )


def measured_values(kind: str = "run") -> dict[str, float]:
    """The figures that the model is fed with, by name: those of the "run" or the "parts", or what is "fitted"."""
    return {name: each["value"] for name, each in json.loads(MEASURED.read_text())[kind].items()}


def measured_ratios() -> dict[str, dict[str, float]]:
    """The figures that the model is compared with, by scenario."""
    ratios: dict[str, dict[str, float]] = json.loads(MEASURED.read_text())["ratios"]
    return ratios


def derive() -> Costs:
    """The costs that explain the figures of the run and of the parts.

    The parts were measured at another time, on the same machine, so they count as multiples of the no-op route.
    """
    run, fitted = measured_values("run"), measured_values("fitted")
    no_op = 1e-6 * run["no_op_micros"]
    parts = {name: no_op * value for name, value in measured_values("parts").items()}
    contention = run["contention"]
    flushes: list[float] = json.loads(MEASURED.read_text())["flushes"]["value"]

    sql = (parts["sql_postgresql"] + parts["sql_client"]) / (1 + contention)
    lone_sql = parts["lone_sql_postgresql"] + parts["lone_sql_client"]
    wake = (lone_sql - sql) / (2 * SQL_STATEMENTS)
    line_python = (parts["group_of_100_python"] - parts["group_of_1_python"]) / 99
    line_postgresql = (parts["group_of_100_postgresql"] - parts["group_of_1_postgresql"]) / 99
    # Where many commands are under way, a hot SKU saves as much as its lines cost less.
    saved_python = (parts["256_under_way_python"] - parts["256_under_way_on_one_sku_python"]) / (1 + contention)
    hot_postgresql = (parts["group_of_100_on_one_sku_postgresql"] - parts["group_of_1_postgresql"]) / 99
    group_python = parts["group_of_1_python"] - line_python - ROUND_TRIPS * wake
    group_postgresql = parts["group_of_1_postgresql"] - line_postgresql - ROUND_TRIPS * wake
    # Orders have a round trip more, which is a step of the model.
    order_python = (parts["18_orders_of_1_python"] - parts["group_of_18_python"] - NAMES.python * group_python) / 18
    order_postgresql = (
        parts["18_orders_of_1_postgresql"] - parts["group_of_18_postgresql"] - NAMES.postgresql * group_postgresql
    ) / 18
    relay, relay_round = _event_and_round(parts, "relay", contention)
    broker, broker_round = _event_and_round(parts, "broker", contention)
    return Costs(
        no_op=no_op,
        # The sockets cost as much as those of the no-op route.
        http=parts["route"] + no_op - parts["no_op_route"],
        order_http=parts["order_route"] - parts["route"],
        further_line_http=(parts["order_of_10_route"] - parts["order_route"]) / 9,
        submit=parts["256_under_way_python"] / (1 + contention) - group_python / 128 - line_python,
        consume=1e-6 * fitted["consume_micros"],
        group_python=group_python,
        line_python=line_python,
        order_python=order_python,
        further_line_python=(parts["18_orders_of_10_python"] - parts["18_orders_of_1_python"]) / 162 - line_python,
        group_postgresql=group_postgresql,
        line_postgresql=line_postgresql,
        order_postgresql=order_postgresql,
        repeated_python=1 - saved_python / line_python,
        repeated_postgresql=hot_postgresql / line_postgresql,
        relay=relay,
        relay_round=relay_round,
        relay_postgresql=1e-6 * fitted["relay_postgresql_micros"],
        broker=broker,
        broker_round=broker_round,
        sql_postgresql=parts["sql_postgresql"] / (1 + contention),
        sql_client=parts["sql_client"] / (1 + contention),
        requeue=(parts["hot_sql_postgresql_16"] - parts["hot_sql_postgresql_2"]) / 14,
        wake=wake,
        # What a lone transaction takes beyond its processor time is the flush.
        sync=1e-3 * run["lone_sql_ms"] - lone_sql,
        contention=contention,
        wal_of_line=run["wal_bytes_of_line"],
        wal_of_group=200,
        flushes=tuple(each / statistics.mean(flushes) for each in flushes),
    )


def _event_and_round(parts: dict[str, float], process: str, contention: float) -> tuple[float, float]:
    """The processor time of an event and of a round: that of an event with 64 callers and with one differ by rounds."""
    busy, lone = parts[f"{process}_of_64"] / (1 + contention), parts[f"{process}_lone"]
    share = (lone - busy) / (parts["lone_post_clock"] - parts["post_of_64_clock"])
    return busy - share * parts["post_of_64_clock"], share / ROUNDS
