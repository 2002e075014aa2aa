"""The costs of each step in seconds, derived from measured figures."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

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


@dataclass(frozen=True)
class Costs:
    """Processor time in seconds, on a processor whose neighbours are idle.

    A group costs a fixed time, and a time for each line: in Python, and in PostgreSQL. `repeated` is the part of a
    line's time that is left if the group has another line of the same SKU.
    """

    no_op: float
    http: float
    submit: float
    consume: float
    group_python: float
    line_python: float
    group_postgresql: float
    line_postgresql: float
    repeated: float
    relay: float
    relay_postgresql: float
    broker: float
    sql: float
    sync: float
    contention: float
    wal_of_line: float
    wal_of_group: float

    def under_load(self) -> "Costs":
        """The same on processors whose neighbours are always busy."""
        times = (
            "no_op",
            "http",
            "submit",
            "group_python",
            "line_python",
            "group_postgresql",
            "line_postgresql",
            "relay",
        )
        more = (*times, "consume", "relay_postgresql", "broker", "sql")
        return replace(self, **{name: getattr(self, name) * (1 + self.contention) for name in more}, contention=0.0)

    def lines(self, lines: int, skus: int) -> float:
        """How many lines of as many SKUs cost as much as these."""
        return self.repeated * lines + (1 - self.repeated) * skus


def measured_values() -> dict[str, float]:
    """The figures that the model is calibrated with, by name."""
    return {name: each["value"] for name, each in json.loads(MEASURED.read_text())["calibration"].items()}


def measured_ratios() -> dict[str, dict[str, float]]:
    """The figures that the model is compared with, by scenario."""
    ratios: dict[str, dict[str, float]] = json.loads(MEASURED.read_text())["ratios"]
    return ratios


def derive() -> Costs:
    """The costs that explain the figures of the calibration."""
    found = measured_values()
    micro, milli = 1e-6, 1e-3
    no_op = found["no_op_micros"] * micro
    busy = 1 + found["contention"]
    # Sixteen clients keep both cores busy; what a lone transaction takes beyond its processor time is the flush.
    sql = 2 / found["sql_rate"] / busy
    sync = found["lone_sql_ms"] * milli - sql
    lone, group = found["lone_command_ms"] * milli, found["group_of_100_ms"] * milli
    line = (group - lone) / 99
    postgresql = found["lone_command_postgresql_ms"] * milli
    return Costs(
        no_op=no_op,
        http=found["http_micros"] * micro,
        submit=found["submit_micros"] * micro,
        consume=found["consume_micros"] * micro,
        group_python=lone - postgresql - sync - line / 2,
        line_python=line / 2,
        group_postgresql=postgresql - line / 2,
        line_postgresql=line / 2,
        repeated=found["repeated_sku"],
        relay=found["background_share"] * no_op / busy,
        relay_postgresql=found["relay_postgresql_micros"] * micro,
        broker=found["broker_share"] * no_op / busy,
        sql=sql,
        sync=sync,
        contention=found["contention"],
        wal_of_line=found["wal_bytes_of_line"],
        wal_of_group=200,
    )
