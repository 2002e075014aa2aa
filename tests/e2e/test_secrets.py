"""Passwords appear in no log, response, metric or representation."""

import logging
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from app.embedded.process import free_port
from app.observability.logging import configure
from app.settings import Settings
from tests.support.command import environment, run_command, running

pytestmark = pytest.mark.kafka

WORDS = ("open-sesame-database", "open-sesame-replica", "open-sesame-kafka", "open-sesame-mail")


@pytest.fixture
def secretive(kafka_settings: Settings) -> Settings:
    """The addresses of the servers, with wrong passwords."""
    url = make_url(kafka_settings.database_url.get_secret_value())
    first, second = (url.set(password=word).render_as_string(hide_password=False) for word in WORDS[:2])
    return kafka_settings.model_copy(
        update={
            "database_url": SecretStr(first),
            "read_database_url": SecretStr(second),
            "kafka_sasl_mechanism": "PLAIN",
            "kafka_sasl_username": "allocation",
            "kafka_sasl_password": SecretStr(WORDS[2]),
            "smtp_url": SecretStr(f"smtp://allocation:{WORDS[3]}@127.0.0.1:{free_port()}"),
        }
    )


def shows_none(*texts: str) -> None:
    assert [word for word in WORDS for text in texts if word in text] == []


def test_settings_show_no_password(secretive: Settings) -> None:
    shows_none(repr(secretive), str(secretive), secretive.model_dump_json(), str(secretive.model_dump()))
    secrets = [value for value in secretive.model_dump().values() if isinstance(value, SecretStr)]
    assert sorted(word for word in WORDS for each in secrets if word in each.get_secret_value()) == sorted(WORDS)


def test_a_service_without_its_servers_logs_that_without_passwords(secretive: Settings, tmp_path: Path) -> None:
    port = free_port()
    env = environment(secretive, log_format="json", log_level="DEBUG", http_deadline="1")
    with running("run", "--port", str(port), env=env, log=tmp_path / "run.log") as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:

            def listens() -> bool:
                try:
                    return client.get("/livez").is_success
                except httpx.TransportError:
                    return False

            process.wait_for(listens)
            answers = [
                client.get("/readyz"),
                client.get("/v1/products/sku-1"),
                client.post("/v1/batches", json={"ref": "b", "sku": "s", "qty": 1}),
                client.get("/metrics"),
                client.get("/openapi.json"),
            ]
        assert [answer.status_code for answer in answers] == [503, 503, 503, 200, 200]
        # The parts that use Kafka have failed too, and have logged it.
        process.wait_for(lambda: "consumer: reading failed" in process.output)
        shows_none(process.output, *(answer.text for answer in answers))


@pytest.mark.parametrize("command", ["migrate", "health", "reconcile"])
def test_commands_that_fail_show_no_password(secretive: Settings, tmp_path: Path, command: str) -> None:
    done = run_command([command], environment(secretive, log_level="DEBUG"), tmp_path)
    assert done.returncode == 1
    assert "password authentication failed" in done.stderr
    shows_none(done.stdout, done.stderr)


def connect_with(password: str) -> None:
    raise ValueError(len(password))


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_in_the_log_shows_no_local_variable(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure(log_format, "INFO")
        try:
            connect_with(WORDS[0])
        except ValueError:
            logging.getLogger("test").exception("it failed")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    shown = capsys.readouterr().err
    assert "ValueError" in shown
    shows_none(shown)
