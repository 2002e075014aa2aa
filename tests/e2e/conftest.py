"""The whole service as a process, with the embedded broker or Apache Kafka, shared by these tests.

It stops after the last test of this folder, because even without requests it would slow down the tests that follow.
"""

import logging
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from pydantic import SecretStr

from app.embedded.broker import EmbeddedBroker
from app.embedded.postgresql import EmbeddedPostgresql
from app.embedded.process import free_port
from app.settings import Settings
from tests.conftest import new_database
from tests.support.apache_kafka import ApacheKafka
from tests.support.api import Api, new, over_http
from tests.support.command import Command, environment, running, status_of
from tests.support.mail import MailBox
from tests.support.waiting import eventually
from tests.support.wire import Wire

WAREHOUSE = "warehouse@example.org"


@dataclass(frozen=True)
class World:
    """A running service with its topics and mail server."""

    api: Api
    wire: Wire
    mail_box: MailBox
    settings: Settings
    command: Command


@pytest.fixture(scope="package")
def shared_settings(
    postgresql: EmbeddedPostgresql, template_database: str, broker: EmbeddedBroker | ApacheKafka
) -> Iterator[Settings]:
    """A database and topics that the tests of this folder may use at once, each on references of its own."""
    unique = uuid.uuid4().hex
    with new_database(postgresql, f"TEMPLATE {template_database}") as url:
        yield Settings(
            auth="none",
            _env_file=None,
            database_url=SecretStr(url),
            kafka_bootstrap_servers=broker.bootstrap_servers,
            kafka_idempotent_producer=isinstance(broker, ApacheKafka),
            kafka_inbound_topics=[f"inbound.{unique}", f"more.{unique}"],
            kafka_events_topic=f"events.{unique}",
            kafka_consumer_group=f"allocation-{unique}",
            kafka_notifier_group=f"notifier-{unique}",
            warehouse_email=WAREHOUSE,
        )


@pytest.fixture(scope="package")
def shared_mail_box() -> Iterator[MailBox]:
    """A mail server, and the mails that it has received."""
    box = MailBox(url=f"smtp://127.0.0.1:{free_port()}")
    controller = Controller(box, hostname="127.0.0.1", port=int(box.url.rpartition(":")[2]))
    controller.start()
    yield box
    controller.stop()


@pytest.fixture(scope="package")
def shared_wire(shared_settings: Settings) -> Iterator[Wire]:
    """The topics of the shared service."""
    inbound = shared_settings.kafka_inbound_topics[0]
    wire = Wire(shared_settings.kafka_bootstrap_servers, inbound, shared_settings.kafka_events_topic)
    yield wire
    wire.close()


@pytest.fixture(scope="package")
def shared_command(
    shared_settings: Settings, shared_mail_box: MailBox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Command, str]]:
    """`allocation run`, and where it listens."""
    port = free_port()
    env = environment(shared_settings, smtp_url=shared_mail_box.url)
    log = tmp_path_factory.mktemp("run") / "run.log"
    with running("run", "--port", str(port), env=env, log=log) as command:
        url = f"http://127.0.0.1:{port}"
        command.wait_until_ready(url)
        yield command, url


@pytest.fixture
async def world(
    shared_command: tuple[Command, str], shared_wire: Wire, shared_mail_box: MailBox, shared_settings: Settings
) -> AsyncIterator[World]:
    """The running service and its surroundings."""
    command, url = shared_command
    async with over_http(url) as api:
        yield World(api, shared_wire, shared_mail_box, shared_settings, command)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log file of a process of the test."""
    return tmp_path / "process.log"


async def sees_batch(api: Api, ref: str) -> None:
    """Wait until a batch exists."""

    async def there() -> bool:
        return (await api.client.get(f"/v1/batches/{ref}")).status_code == 200

    await eventually(there)


async def barrier(world: World, key: str) -> None:
    """Return when all earlier messages with this key, and so of the same partition, have been handled."""
    ref = new("barrier")
    world.wire.send("batch_created.v1", {"ref": ref, "sku": ref, "qty": 1}, key=key)
    await sees_batch(world.api, ref)


RunHere = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Restores the logging setup, which the command line changes in this process."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logger.level for name, logger in _loggers()}
    yield
    root.handlers[:] = handlers
    for name, logger in _loggers():
        logger.setLevel(levels.get(name, logging.NOTSET))


@pytest.fixture
def run_here(
    restored_logging: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> RunHere:
    """Runs a command in this process with the given settings and without a file `.env`: new processes start slowly."""

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(f"ALLOCATION_{name.upper()}", value)
            status = status_of(arguments)
        shown = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, status, shown.out, shown.err)

    return run


def _loggers() -> list[tuple[str, logging.Logger]]:
    """The root logger and all others."""
    names = ["", *logging.root.manager.loggerDict]
    return [(name, logging.getLogger(name)) for name in names]
