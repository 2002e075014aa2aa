"""Fixtures of several kinds of tests: PostgreSQL, a database per test, a broker, a mail server, a wired service."""

import asyncio
import gc
import logging
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import asyncpg
import pytest
from aiosmtpd.controller import Controller
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from app.adapters.postgresql import schema
from app.bootstrap import Service, bootstrap
from app.embedded.broker import EmbeddedBroker
from app.embedded.postgresql import EmbeddedPostgresql
from app.embedded.process import free_port
from app.settings import Settings
from tests.support.apache_kafka import ApacheKafka
from tests.support.cells import CELLS, create_views
from tests.support.mail import MailBox
from tests.support.memory import memory_folder

# No test fails because the machine is slow. The default of Hypothesis is 200 ms for an example.
hypothesis_settings.register_profile("untimed", deadline=None)
hypothesis_settings.load_profile("untimed")

TEMPLATE = "template_allocation"

TEMPLATE_WITH_CELLS = "template_allocation_cells"

LONGEST_FILES = (
    "test_schemathesis.py",
    "test_wheel.py",
    "test_dev.py",
    "test_generated_client.py",
    "test_separate_processes.py",
    "test_failover.py",
    "test_fault_actors.py",
    "test_import.py",
    "test_process_start.py",
    "test_hold_sweeper.py",
    "test_state_machine.py",
    "test_framing.py",
    "test_start_without_database.py",
    "test_migrations.py",
    "test_read_cost.py",
)
"""Files that take longest, and therefore start first: the workers of pytest-xdist then end at about the same time."""

# Otherwise each process that a test starts compiles all modules that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Temporary folders are in memory if possible: a new database there costs a fifth of the processor time.
if (folder := memory_folder()) is not None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))
# A mail server that tests share would write to the standard error of a command that another test runs in this process.
logging.getLogger("mail.log").propagate = False


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--broker=apache` runs the tests that need a broker against Apache Kafka."""
    parser.addoption("--broker", choices=["embedded", "apache"], default="embedded", help="The broker to test against.")
    parser.addoption("--screenshots", action="store_true", help="Write the pictures of docs/board.md.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest files first; the others keep their order."""
    rank = {name: number for number, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def pytest_collection_finish() -> None:
    """Exempt everything collected from garbage collection, which would scan it during the tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgresql]:
    """A PostgreSQL server for all tests; its data are deleted with it."""
    with EmbeddedPostgresql(tmp_path_factory.mktemp("postgresql") / "data", durable=False) as server:
        yield server


async def _execute(server: EmbeddedPostgresql, *statements: str) -> None:
    dsn = make_url(server.admin_url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def url_of_database(server: EmbeddedPostgresql, name: str) -> str:
    """The URL of another database of the server, as its owner."""
    return make_url(server.database_url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def template_database(postgresql: EmbeddedPostgresql) -> str:
    """The name of a migrated database, which is fast to copy."""
    asyncio.run(_execute(postgresql, f"CREATE DATABASE {TEMPLATE} OWNER allocation"))
    url = url_of_database(postgresql, TEMPLATE)
    schema.migrate(url, cells=CELLS.number)
    if CELLS.number > 1:
        asyncio.run(create_views(url, CELLS.number))
    return TEMPLATE


@pytest.fixture(scope="session")
def template_with_cells(postgresql: EmbeddedPostgresql) -> str:
    """The name of a migrated database with four cells, which is fast to copy."""
    asyncio.run(_execute(postgresql, f"CREATE DATABASE {TEMPLATE_WITH_CELLS} OWNER allocation"))
    url = url_of_database(postgresql, TEMPLATE_WITH_CELLS)
    schema.migrate(url, cells=4)
    asyncio.run(create_views(url, 4))
    return TEMPLATE_WITH_CELLS


@pytest.fixture
def cells_url(postgresql: EmbeddedPostgresql, template_with_cells: str) -> Iterator[str]:
    """The URL of a migrated database with four cells that only this test uses."""
    with new_database(postgresql, f"TEMPLATE {template_with_cells} STRATEGY FILE_COPY") as url:
        yield url


@contextmanager
def new_database(server: EmbeddedPostgresql, options: str = "") -> Iterator[str]:
    """The URL of a database that exists during the block."""
    name = f"test_{uuid.uuid4().hex}"
    asyncio.run(_execute(server, f"CREATE DATABASE {name} OWNER allocation {options}"))
    yield url_of_database(server, name)
    asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def empty_database_url(postgresql: EmbeddedPostgresql) -> Iterator[str]:
    """The URL of a database without any table."""
    with new_database(postgresql) as url:
        yield url


@pytest.fixture
def database_url(postgresql: EmbeddedPostgresql, template_database: str) -> Iterator[str]:
    """The URL of a migrated database that only this test uses."""
    # Without fsync, copying files takes less time than writing them to the log.
    with new_database(postgresql, f"TEMPLATE {template_database} STRATEGY FILE_COPY") as url:
        yield url


@pytest.fixture(scope="session")
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedBroker | ApacheKafka]:
    """A broker for all tests: the embedded one, or Apache Kafka with `--broker=apache`."""
    directory = tmp_path_factory.mktemp("broker")
    server: EmbeddedBroker | ApacheKafka
    if request.config.getoption("--broker") == "apache":
        server = ApacheKafka(data_dir=directory)
    else:
        server = EmbeddedBroker(log_file=directory / "broker.log")
    with server:
        yield server


@pytest.fixture
def settings(database_url: str) -> Settings:
    """Settings for one test, with a database of its own and no broker."""
    return Settings(_env_file=None, auth="none", database_url=SecretStr(database_url))


@pytest.fixture
def kafka_settings(settings: Settings, broker: EmbeddedBroker | ApacheKafka) -> Settings:
    """Settings for one test, with a database, topics and consumer groups of its own."""
    unique = uuid.uuid4().hex[:12]
    return settings.model_copy(
        update={
            "kafka_bootstrap_servers": broker.bootstrap_servers,
            "kafka_idempotent_producer": isinstance(broker, ApacheKafka),
            "kafka_inbound_topics": [f"inbound.{unique}"],
            "kafka_events_topic": f"events.{unique}",
            "kafka_consumer_group": f"allocation-{unique}",
            "kafka_notifier_group": f"notifier-{unique}",
        }
    )


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """The wired service over a database of its own, its bus running."""
    async with bootstrap(settings) as wired, wired.bus:
        yield wired


@pytest.fixture
def mail_box() -> Iterator[MailBox]:
    """A mail server on loopback and the mails that it has received."""
    port = free_port()
    box = MailBox(url=f"smtp://127.0.0.1:{port}")
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box
    controller.stop()
