"""The embedded broker: ready at once, speaks the Kafka protocol, leaves no process behind."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.embedded.broker import EmbeddedBroker, answers_kafka
from app.embedded.errors import EmbeddedStackUnavailable, PortTakenError
from tests.embedded.processes import ended, family, service_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_AND_PRINT = """
import sys
from pathlib import Path
from app.embedded.broker import EmbeddedBroker
broker = EmbeddedBroker(log_file=Path(sys.argv[1]))
broker.start()
print(broker.pid, broker.bootstrap_servers, flush=True)
"""


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "broker.log"


@pytest.fixture
def broker(log_file: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(log_file=log_file) as broker:
        yield broker


def test_answers_within_seconds(log_file: Path) -> None:
    began = time.monotonic()
    with EmbeddedBroker(log_file=log_file) as broker:
        assert time.monotonic() - began < 5
        assert answers_kafka(broker.port)


async def test_hands_back_key_value_headers_and_timestamp(broker: EmbeddedBroker) -> None:
    servers = broker.bootstrap_servers
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic("orders", num_partitions=3, replication_factor=1)])
    await admin.close()
    headers = [("ce_id", b"1"), ("ce_type", b"line_allocated.v1"), ("empty", b"")]
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
        await producer.send_and_wait("orders", b"{}", key=b"LAMP", headers=headers, timestamp_ms=1_700_000_000_123)
    async with AIOKafkaConsumer(
        "orders",
        bootstrap_servers=servers,
        group_id="readers",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # The broker holds the first join of a group for half of this time.
        session_timeout_ms=1000,
        heartbeat_interval_ms=300,
    ) as consumer:
        record = await consumer.getone()
        await consumer.commit()
    assert (record.key, record.value, list(record.headers)) == (b"LAMP", b"{}", headers)
    assert record.timestamp == 1_700_000_000_123


def test_keeps_its_port_over_a_restart(broker: EmbeddedBroker) -> None:
    port = broker.port
    broker.stop()
    broker.start()
    assert broker.port == port


def test_leaves_no_process_behind_and_may_be_stopped_twice(broker: EmbeddedBroker) -> None:
    pids = family(broker.pid)
    broker.stop()
    broker.stop()
    assert ended(pids)
    assert broker.pid is None


def test_ends_with_a_service_that_is_killed(log_file: Path) -> None:
    with service_process(START_AND_PRINT, str(log_file)) as (service, pid, _):
        service.kill()
        assert ended([pid])


def test_a_port_that_is_taken_is_refused_by_name(log_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        broker = EmbeddedBroker(port=port, log_file=log_file)
        with pytest.raises(PortTakenError, match=f"port {port} .* is taken"):
            broker.start()
        assert broker.pid is None


def test_without_a_wheel_the_error_names_the_setting_to_use(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.embedded.wheels.importlib.util.find_spec", lambda _: None)
    with pytest.raises(EmbeddedStackUnavailable, match=r"^[^\n]*no wheel[^\n]*ALLOCATION_KAFKA_BOOTSTRAP_SERVERS"):
        EmbeddedBroker(log_file=log_file).start()
