"""`allocation dev` starts the whole service with one command, and leaves no process behind."""

import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from app.embedded.broker import EmbeddedBroker
from app.integration.asyncapi import EVENTS_TOPIC, INBOUND_TOPIC
from tests.e2e.conftest import sees_batch
from tests.embedded.processes import ended
from tests.support.apache_kafka import ApacheKafka
from tests.support.api import new, over_http
from tests.support.command import STOP_SECONDS, Command, assert_one_clear_line, environment, run_command, running
from tests.support.database import raw_connection
from tests.support.waiting import eventually
from tests.support.wire import Wire


@dataclass(frozen=True)
class Dev:
    """A running `allocation dev`."""

    command: Command
    home: Path
    http_url: str
    database_url: str
    kafka_bootstrap_servers: str

    def family(self) -> list[int]:
        """The ids of its process and of all below it."""
        process = psutil.Process(self.command.process.pid)
        return [process.pid, *(child.pid for child in process.children(recursive=True))]


@contextmanager
def running_dev(home: Path) -> Iterator[Dev]:
    home.parent.mkdir(exist_ok=True)
    log = home.parent / f"{new('dev')}.log"
    with running("dev", "--port", "0", "--home", str(home), env=environment(), log=log) as command:
        # After a crash an old dev.json can still exist.
        command.wait_for(lambda: "http://" in command.output)
        content: dict[str, str] = json.loads((home / "dev.json").read_text())
        yield Dev(command, home, **content)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One that these tests share."""
    with running_dev(tmp_path_factory.mktemp("dev") / "home") as shared:
        yield shared


def test_everything_is_ready_once_dev_json_exists(dev: Dev) -> None:
    assert set(json.loads((dev.home / "dev.json").read_text())) == {
        "http_url",
        "database_url",
        "kafka_bootstrap_servers",
    }
    assert httpx.get(f"{dev.http_url}/readyz", trust_env=False).status_code == 200
    assert dev.http_url.startswith("http://127.0.0.1:")
    assert dev.database_url.startswith("postgresql+asyncpg://")


def test_dev_json_is_for_its_owner_only(dev: Dev) -> None:
    assert stat.S_IMODE((dev.home / "dev.json").stat().st_mode) == 0o600


def test_it_prints_its_address_and_no_errors(dev: Dev) -> None:
    assert dev.http_url in dev.command.output
    for word in ("Traceback", "[error", "[critical"):
        assert word not in dev.command.output


def test_it_prints_each_step_at_once_and_the_address_last(tmp_path: Path) -> None:
    home = tmp_path / "dev" / "home"
    with running_dev(home) as dev:
        lines = dev.command.output.splitlines()
    assert [line.partition(",")[0] for line in lines[:5]] == [
        "Starting the allocation service",
        "Starting PostgreSQL",
        "Starting the broker",
        "Migrating the database",
        "Starting the service",
    ]
    assert f"{dev.http_url}/docs" in lines[5]
    assert f"{dev.http_url}/asyncapi" in lines[5]
    assert f"{dev.http_url}/board" in lines[5]
    assert lines[6:] == [f"The allocation service runs at {dev.http_url}"]


async def test_with_a_configured_broker_it_starts_none(tmp_path: Path, broker: EmbeddedBroker | ApacheKafka) -> None:
    given = {"kafka_inbound_topics": new("inbound"), "kafka_events_topic": new("events")}
    home, log = tmp_path / "home", tmp_path / "dev.log"
    arguments = ("dev", "--port", "0", "--home", str(home), "--broker", broker.bootstrap_servers)
    with running(*arguments, env=environment(None, **given), log=log) as command:
        command.wait_for(lambda: "http://" in command.output)
        assert "Starting the broker" not in command.output
        assert json.loads((home / "dev.json").read_text())["kafka_bootstrap_servers"] == broker.bootstrap_servers


async def test_the_database_of_dev_json_is_the_one_that_is_used(dev: Dev) -> None:
    sku = new("sku")
    async with over_http(dev.http_url) as api:
        await api.record(sku, 10)
    async with raw_connection(dev.database_url, cell_of=sku) as connection:
        assert await connection.fetchval("SELECT count(*) FROM batches WHERE sku = $1", sku) == 1


async def test_messages_go_in_and_events_come_out_on_the_topics_of_the_contract(dev: Dev) -> None:
    assert (INBOUND_TOPIC, EVENTS_TOPIC) == ("allocation.inbound.v1", "allocation.events.v1")
    wire = Wire(dev.kafka_bootstrap_servers, INBOUND_TOPIC, EVENTS_TOPIC)
    try:
        sku, ref = new("sku"), new("batch")
        wire.send("batch_created.v1", {"ref": ref, "sku": sku, "qty": 10})
        assert [event.type for event in await wire.events(sku, 1)] == ["batch_created.v1"]
        async with over_http(dev.http_url) as api:
            await sees_batch(api, ref)
    finally:
        wire.close()


async def test_without_a_mail_server_the_mail_is_logged(dev: Dev) -> None:
    sku = new("sku")
    async with over_http(dev.http_url) as api:
        await api.record(sku, 1)
        await api.order(sku, 2)

    async def logged() -> bool:
        return f"Out of stock for {sku}" in dev.command.output

    await eventually(logged)


def test_a_home_in_use_is_reported_on_one_line_and_not_changed(dev: Dev, tmp_path: Path) -> None:
    done = run_command(["dev", "--port", "0", "--home", str(dev.home)], environment(), tmp_path)
    assert_one_clear_line(done, 2, str(dev.home))
    assert (dev.home / "dev.json").exists()
    assert httpx.get(f"{dev.http_url}/readyz", trust_env=False).status_code == 200


def test_a_port_in_use_is_reported_on_one_line_before_servers_start(dev: Dev, tmp_path: Path) -> None:
    port, home = dev.http_url.rpartition(":")[2], tmp_path / "home"
    done = run_command(["dev", "--port", port, "--home", str(home)], environment(), tmp_path)
    assert_one_clear_line(done, 2, port)
    assert not (home / "postgresql" / "PG_VERSION").exists()
    assert not (home / "dev.json").exists()


async def test_it_leaves_no_process_behind_and_keeps_the_data(tmp_path: Path) -> None:
    home, sku, order = tmp_path / "dev" / "home", new("sku"), new("order")
    with running_dev(home) as dev:
        async with over_http(dev.http_url) as api:
            ref = await api.record(sku, 10)
            await api.order(sku, 4, order_id=order)
        family = dev.family()
        assert len(family) >= 3, "the service, PostgreSQL and the broker"
        assert dev.command.stop(signal.SIGTERM) == 0, dev.command.output
        assert ended(family)
        assert not (home / "dev.json").exists()

    with running_dev(home) as dev:
        async with over_http(dev.http_url) as api:
            assert await api.batch_of(order) == ref
            await api.order(sku, 3)
        family = dev.family()
        # The whole process group, as Ctrl-C in a terminal does.
        assert dev.command.stop(signal.SIGINT) == 0, dev.command.output
        assert ended(family)
        assert "Traceback" not in dev.command.output

    with running_dev(home) as dev:
        async with over_http(dev.http_url) as api:
            assert (await api.batch(ref))["allocated_qty"] == 7
            await api.order(sku, 2)
        family = dev.family()
        dev.command.kill()
        assert ended(family), "its servers outlived it"

    with running_dev(home) as dev:
        async with over_http(dev.http_url) as api:
            assert (await api.batch(ref))["allocated_qty"] == 9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_leaves_no_process_behind_when_stopped_before_it_is_ready(tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "home"
    log = tmp_path / "dev.log"
    with running("dev", "--port", "0", "--home", str(home), env=environment(), log=log) as command:
        process = psutil.Process(command.process.pid)
        command.wait_for(lambda: bool(process.children()))
        family = [process.pid, *(child.pid for child in process.children(recursive=True))]
        os.killpg(command.process.pid, number)
        command.process.wait(STOP_SECONDS)
        assert ended(family)
        assert "Traceback" not in command.output


@pytest.mark.parametrize("sent", [b"BREW /livez HTTP/1.1\r\nHost: pot\r\n\r\n", b"\x16\x03\x01 no HTTP at all\r\n\r\n"])
def test_invalid_http_is_answered_with_a_problem(dev: Dev, sent: bytes) -> None:
    url = httpx.URL(dev.http_url)
    with socket.create_connection((url.host, url.port or 80), timeout=60) as connection:
        connection.sendall(sent)
        answer = b""
        while part := connection.recv(4096):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "malformed-request"
