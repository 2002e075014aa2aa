"""Alerts on the metrics of a real process: promtool evaluates the rules before and after an event."""

import json
import math
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.outbox_signal import OutboxListener, OutboxSignal
from app.bootstrap import Service
from app.domain.commands import Allocate, CreateBatch
from app.entrypoints import components
from app.entrypoints.kafka.relays import Relays
from app.observability import metrics
from app.operations import reconciliation
from app.service_layer.requests import Request
from tests.support import promtool
from tests.support.database import CAUSE, play
from tests.support.errands import Desk, Errand
from tests.support.records import FakeBroker
from tests.support.relaying import Outboxes
from tests.support.waiting import eventually

RULES = Path(__file__).resolve().parents[2] / "deploy/observability/alerts.yml"
EVENT_AT = 5
"""Minutes of the series before the event; each rule gets eight hours after it."""

pytestmark = pytest.mark.skipif(promtool.find() is None, reason="there is no promtool; `make promtool` fetches it")

Series = dict[str, float]


def exported() -> Series:
    """Every series of the service, by name and labels as Prometheus writes them."""
    series: Series = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            labels = ", ".join(f"{name}={json.dumps(label)}" for name, label in sorted(sample.labels.items()))
            if sample.name.startswith("allocation_"):
                series[f"{sample.name}{{{labels}}}"] = sample.value
    return series


def fires(alert: str, before: Series, after: Series, folder: Path) -> bool:
    """Whether the alert fires at any time after the series changed from `before` to `after`."""
    program = promtool.find()
    assert program is not None
    # Only this rule and the series that it reads: promtool evaluates every rule over all series in each of 485 minutes.
    (rule,) = (each for each in yaml.safe_load(RULES.read_text())["groups"][0]["rules"] if each["alert"] == alert)
    (folder / "alerts.yml").write_text(json.dumps({"groups": [{"name": "tested", "rules": [rule]}]}))
    series = [
        {"series": name, "values": f"{_steady(before.get(name), EVENT_AT)} {_steady(level, 480)}"}
        for name, level in after.items()
        if name.partition("{")[0] in rule["expr"]
    ]
    expected = {
        "expr": f'count(max_over_time(ALERTS{{alertname="{alert}", alertstate="firing"}}[8h])) > bool 0',
        "eval_time": "8h",
        "exp_samples": [{"labels": "{}", "value": 1}],
    }
    test = {
        "rule_files": ["alerts.yml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [expected]}],
    }
    (folder / "real.test.yml").write_text(json.dumps(test))
    command = [str(program), "test", "rules", "real.test.yml"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    found = done.stdout + done.stderr
    assert done.returncode == 0 or "got: nil" in found, found
    return done.returncode == 0


def _steady(level: float | None, minutes: int) -> str:
    """A constant series in promtool's notation, which can repeat numbers but not NaN."""
    if level is None:
        return f"_x{minutes}"
    return " ".join(["NaN"] * minutes) if math.isnan(level) else f"{level}x{minutes}"


async def holds(condition: bool) -> bool:
    return condition


@asynccontextmanager
async def relaying(engine: AsyncEngine, database_url: str, broker: FakeBroker) -> AsyncIterator[None]:
    signal = OutboxSignal(engine)
    listener = OutboxListener(database_url, signal.received)
    relay = Relays(
        Outboxes(engine).readers, signal, listener, broker.start_producer, topic="events", source="/a", lease=60
    )
    async with components.running([relay.run]):
        yield
    await signal.close()


async def test_a_command_that_fails(tmp_path: Path) -> None:
    metrics.initialize_command("Errand")
    before = exported()
    await Desk().bus.handle_group([Request(Errand(name="one", goes_wrong=True), CAUSE)])

    assert fires("AllocationCommandsFail", before, exported(), tmp_path)
    assert not fires("AllocationCommandsFail", before, before, tmp_path)


async def test_a_partition_that_refuses_an_event(service: Service, tmp_path: Path) -> None:
    await play(service.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=1))
    async with service.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE events SET created_at = created_at - interval '10 minutes'")
    broker = FakeBroker()
    broker.refusing = set(broker.partitions)
    before = exported()
    url = service.settings.database_url.get_secret_value()
    async with relaying(service.engine, url, broker):
        await eventually(lambda: holds(any("refused_age" in name for name in exported())))
        after = exported()

    for alert in ("AllocationPartitionRefuses", "AllocationEventsLate"):
        assert fires(alert, before, after, tmp_path)
        assert not fires(alert, before, before, tmp_path)


async def test_a_relay_that_holds_half_of_the_shards(service: Service, tmp_path: Path) -> None:
    vanished = Outboxes(service.engine)
    await vanished.claim()
    url = service.settings.database_url.get_secret_value()
    async with relaying(service.engine, url, FakeBroker()):
        await eventually(lambda: holds("allocation_relay_leased_shards{}" in exported()))
        await eventually(lambda: holds(exported()["allocation_relay_leased_shards{}"] == 0))
        half = exported()
    await vanished.leave()
    async with relaying(service.engine, url, FakeBroker()):
        await eventually(lambda: holds(exported()["allocation_relay_leased_shards{}"] == 16))
        whole = exported()

    assert fires("AllocationShardsWithoutRelay", whole, half, tmp_path)
    assert not fires("AllocationShardsWithoutRelay", whole, whole, tmp_path)


async def test_a_reconciliation_with_a_difference_and_one_that_never_ends(service: Service, tmp_path: Path) -> None:
    reconciliation.initialize_metrics()
    before = exported()
    assert fires("AllocationComparisonOverdue", before, before, tmp_path)

    await play(service.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=1))
    async with service.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE products SET backordered_qty = 1")
    await reconciliation.check(service)
    assert fires("AllocationSumsDiffer", before, exported(), tmp_path)
    assert not fires("AllocationSumsDiffer", before, before, tmp_path)


async def test_dead_letters_and_lines_that_wait(service: Service, tmp_path: Path) -> None:
    async with service.engine.begin() as connection:
        await connection.exec_driver_sql(
            """INSERT INTO dead_letters (consumer, topic, partition, "offset", "timestamp", headers, reason)
               VALUES ('test', 'topic', 0, 0, 0, '[]', 'a reason')"""
        )
    await play(service.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=1))
    await play(service.bus, Allocate(order_id="order-1", sku="CHAIR", qty=5))
    metrics.dead_letters_kept.set(metrics.UNKNOWN)
    before = exported()
    async with components.running([components.housekeeping(service)]):
        await eventually(lambda: holds(exported()["allocation_dead_letters_kept_messages{}"] == 1))

    assert fires("AllocationDeadLetters", before, exported(), tmp_path)
    assert not fires("AllocationDeadLetters", before, before, tmp_path)


async def test_holds_that_are_not_ended(service: Service, tmp_path: Path) -> None:
    await play(service.bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=1))
    await play(service.bus, Allocate(order_id="order-1", sku="CHAIR", qty=1, hold_for=600))
    async with components.running([components.housekeeping(service)]):
        await eventually(lambda: holds(exported()["allocation_overdue_holds_oldest_age_seconds{}"] == 0))
    before = exported()
    async with service.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE products SET earliest_hold_end = now() - interval '2 minutes'")
    async with components.running([components.housekeeping(service)]):
        await eventually(lambda: holds(exported()["allocation_overdue_holds_oldest_age_seconds{}"] > 60))

    assert fires("AllocationHoldsNotEnded", before, exported(), tmp_path)
    assert not fires("AllocationHoldsNotEnded", before, before, tmp_path)
