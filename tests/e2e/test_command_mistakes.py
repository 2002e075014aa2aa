"""Mistakes in commands and settings, and servers that are missing: one clear line, and status 2 for a mistake."""

import socket
import subprocess
from pathlib import Path

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app import private_names
from app.embedded.process import free_port
from tests.support.command import assert_one_clear_line, environment, run_command, status_of

pytestmark = pytest.mark.usefixtures("restored_logging")

NOWHERE = f"postgresql+asyncpg://allocation@127.0.0.1:{free_port()}/nowhere"

# The arguments, and what the error message must contain.
TYPED = {
    "unknown option": (["run", "--prot", "80"], "--prot"),
    "unknown command": (["runn"], "runn"),
    "no such subcommand": (["dead-letters", "burn"], "burn"),
    "an argument too many": (["migrate", "now"], "now"),
    "a port that is not numeric": (["serve", "--port", "http"], "http"),
    "a port out of range": (["serve", "--port", "65536"], "65536"),
    "a host that is not here": (["serve", "--host", "192.0.2.1", "--port", "0"], "192.0.2.1"),
    "an invalid host": (["serve", "--host", "no host", "--port", "0"], "no host"),
    "a letter id that is not numeric": (["dead-letters", "retry", "first"], "first"),
    "no letter": (["dead-letters", "show"], "ID"),
    "no letter to throw away": (["dead-letters", "discard"], "ID"),
    "an interval of 0": (["watch", "--interval", "0"], "0"),
    "an unknown shell": (["completion", "tcsh"], "tcsh"),
    "a letter id out of range": (["dead-letters", "retry", "9" * 20], "9" * 20),
}
SET = [
    ("log_format", "xml"),
    ("database_pool_size", "many"),
    ("kafka_idempotent_producer", "perhaps"),
    ("http_deadline", "10"),
    ("database_url", "nonsense"),
    ("database_url", "postgresql://a@b/c"),
    ("database_url", "sqlite:///file"),
    ("database_url", "postgresql+asyncpg://a@b:c/d"),
    ("smtp_url", "http://localhost:25"),
    ("smtp_url", "localhost"),
    ("kafka_inbound_topics", ","),
    ("kafka_inbound_topics", "a b"),
    ("kafka_bootstrap_servers", "a:b"),
]


@pytest.mark.parametrize("mistake", TYPED)
def test_a_mistake_in_the_command_gives_one_clear_line_and_status_2(
    mistake: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALLOCATION_DATABASE_URL", NOWHERE)
    monkeypatch.setenv("ALLOCATION_AUTH", "none")
    monkeypatch.setenv("ALLOCATION_AUTH_NONE_ON_ANY_ADDRESS", "true")
    arguments, word = TYPED[mistake]
    status = status_of(arguments)
    shown = capsys.readouterr()
    done = subprocess.CompletedProcess(arguments, status, shown.out, shown.err)
    assert_one_clear_line(done, 2, word)
    assert shown.out == ""


@pytest.mark.parametrize(("name", "value"), SET)
def test_a_mistake_in_the_settings_gives_one_clear_line_and_status_2(
    name: str, value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    variable = f"ALLOCATION_{name.upper()}"
    monkeypatch.setenv(variable, value)
    status = status_of(["openapi"])
    shown = capsys.readouterr()
    assert_one_clear_line(subprocess.CompletedProcess(["openapi"], status, shown.out, shown.err), 2, variable)
    assert shown.out == ""


@pytest.mark.parametrize("command", ["run", "serve"])
def test_a_port_in_use_is_reported_on_one_line(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALLOCATION_AUTH", "none")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status = status_of([command, "--port", port])
    shown = capsys.readouterr()
    assert_one_clear_line(subprocess.CompletedProcess([command], status, shown.out, shown.err), 2, port)


def test_without_a_private_name_that_limits_depend_on_the_service_does_not_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALLOCATION_AUTH", "none")
    monkeypatch.delattr(HttpToolsProtocol, "_start_asgi_task")
    for method in ("on_headers_complete", "on_response_complete"):  # They call it.
        monkeypatch.setattr(HttpToolsProtocol, method, print)
    private_names.check.cache_clear()
    status = status_of(["serve", "--port", "0"])
    shown = capsys.readouterr()
    done = subprocess.CompletedProcess(["serve"], status, shown.out, shown.err)
    assert_one_clear_line(done, 2, "uvicorn", "_start_asgi_task", "the limits of connections")


def test_a_mistake_in_a_separate_process_exits_with_status_2(tmp_path: Path) -> None:
    done = run_command(["run", "--port", "0"], environment(log_format="xml"), tmp_path)
    assert_one_clear_line(done, 2, "ALLOCATION_LOG_FORMAT", "json", "console")
    assert_one_clear_line(run_command(["run", "--prot"], environment(), tmp_path), 2, "--prot")


def test_a_home_that_is_a_file_is_a_mistake(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file")
    done = run_command(["dev", "--port", "0", "--home", str(home)], environment(), tmp_path)
    assert_one_clear_line(done, 2, str(home))
    assert home.read_text() == "a file"


@pytest.mark.parametrize("command", ["migrate", "reconcile"])
def test_an_unreachable_database_is_reported_on_one_line(command: str, tmp_path: Path) -> None:
    done = run_command([command], environment(database_url=NOWHERE), tmp_path)
    assert done.returncode != 0
    assert_one_clear_line(done, done.returncode, "database")


@pytest.mark.parametrize("command", [["dead-letters", "list"], ["reconcile"]], ids=" ".join)
def test_a_missing_schema_is_reported_on_one_line(command: list[str], empty_database_url: str, tmp_path: Path) -> None:
    done = run_command(command, environment(database_url=empty_database_url), tmp_path)
    assert done.returncode != 0
    assert_one_clear_line(done, done.returncode, "migrate")
