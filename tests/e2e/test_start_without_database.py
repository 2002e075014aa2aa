"""A process that starts without its database, or with a misspelt setting, logs that."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from app.embedded.process import free_port
from app.settings import Settings
from faults.proxy import Proxy
from tests.support.command import Command, environment, running

AWAY = "the database does not answer"
BACK = "the database is available"


def lines_with(command: Command, text: str) -> list[str]:
    return [line for line in command.output.splitlines() if text in line]


def shows(command: Command, text: str) -> Callable[[], bool]:
    return lambda: bool(lines_with(command, text))


@pytest.mark.parametrize("name", ["serve", "run", "consume", "relay", "notify"])
def test_a_process_logs_that_its_database_is_unreachable_and_is_back(name: str, settings: Settings, log: Path) -> None:
    url = make_url(settings.database_url.get_secret_value())
    port, broker = free_port(), free_port()
    assert url.port is not None
    behind = SecretStr(url.set(port=port).render_as_string(hide_password=False))
    env = environment(
        settings.model_copy(update={"database_url": behind}),
        kafka_bootstrap_servers=f"127.0.0.1:{broker}",
        log_format="json",
        databse_url="postgresql+asyncpg://user:secret@db/allocation",
    )
    arguments = (name, "--port", "0") if name in {"serve", "run"} else (name,)
    with running(*arguments, env=env, log=log) as command:
        command.wait_for(shows(command, AWAY))
        (line,) = lines_with(command, AWAY)
        assert f"127.0.0.1:{port}/{url.database}" in line
        (misspelt,) = lines_with(command, "ALLOCATION_DATABSE_URL")
        assert "did you mean ALLOCATION_DATABASE_URL?" in misspelt
        with Proxy(port, url.port):
            command.wait_for(shows(command, BACK))
        assert "secret" not in command.output
        assert str(url.password) not in command.output


def test_a_database_without_its_schema_is_logged(empty_database_url: str, log: Path) -> None:
    env = environment(database_url=empty_database_url, auth="none")
    with running("serve", "--port", "0", env=env, log=log) as command:
        command.wait_for(shows(command, "run: allocation migrate"))


def test_each_worker_logs_it_once_and_only_the_parent_logs_a_misspelt_setting(log: Path) -> None:
    port = free_port()
    env = environment(database_url=f"postgresql+asyncpg://a@127.0.0.1:{free_port()}/b", auth="none", log_levle="INFO")
    with running("serve", "--port", str(port), "--workers", "2", env=env, log=log) as command:
        command.wait_for(lambda: len(lines_with(command, AWAY)) == 2)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            started = time.monotonic()
            while time.monotonic() < started + 3:
                assert client.get("/readyz").status_code == 503
        assert len(lines_with(command, AWAY)) == 2
        assert len(lines_with(command, "ALLOCATION_LOG_LEVLE")) == 1
