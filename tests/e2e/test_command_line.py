"""The command line: help everywhere, and for a mistake one clear line and status 2."""

import json
import logging
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app import private_names
from app.cli import main
from app.embedded.process import free_port
from tests.support.command import ALLOCATION, assert_one_clear_line, environment, run_command

COMMANDS = [
    [],
    ["dev"],
    ["run"],
    ["serve"],
    ["consume"],
    ["relay"],
    ["notify"],
    ["migrate"],
    ["doctor"],
    ["watch"],
    ["dead-letters"],
    ["dead-letters", "list"],
    ["dead-letters", "show"],
    ["dead-letters", "retry"],
    ["dead-letters", "discard"],
    ["reconcile"],
    ["api-keys"],
    ["api-keys", "new"],
    ["import"],
    ["openapi"],
    ["asyncapi"],
    ["completion"],
    ["man"],
]
GROUPS: list[list[str]] = [[], ["dead-letters"], ["api-keys"]]
OPTIONS = {
    "dev": {"--host", "--port", "--home"},
    "run": {"--host", "--port"},
    "serve": {"--host", "--port"},
    "reconcile": {"--repair", "--json"},
    "doctor": {"--json"},
    "watch": {"--json", "--interval"},
    "dead-letters list": {"--json"},
    "dead-letters show": {"--json"},
    "import": {"--format", "--kind", "--results"},
    "api-keys new": {"--scope", "--file", "--once"},
}


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Restore the logging setup, which the command line changes in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def status_of(arguments: list[str]) -> int:
    """Run the command line in this process. Returns its exit status."""
    try:
        main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of([*command, "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith(f"Usage: {' '.join(['allocation', *command])}")
    for option in OPTIONS.get(" ".join(command), set()):
        assert option in shown.out


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert " ".join(command[:1]) in shown


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


def test_an_empty_setting_counts_as_unset(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "SMTP_URL", "LOG_FORMAT"):
        monkeypatch.setenv(f"ALLOCATION_{name}", "")
    assert status_of(["openapi"]) == 0
    assert capsys.readouterr().err == ""


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


@pytest.mark.parametrize("command", GROUPS, ids=lambda command: " ".join(["allocation", *command]))
def test_a_group_without_a_command_shows_its_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of([*command, "--help"]) == 0
    asked = capsys.readouterr()
    assert status_of(command) == 0
    assert capsys.readouterr() == asked
    assert asked.out.count("\n") > 5


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


def test_an_empty_list_of_dead_letters_prints_nothing(database_url: str, tmp_path: Path) -> None:
    done = run_command(["dead-letters", "list"], environment(database_url=database_url), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("command", "version"), [("openapi", "3.1."), ("asyncapi", "3.")])
def test_the_documents_are_printed_as_json(
    command: str, version: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status_of([command]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert json.loads(shown.out)[command].startswith(version)


def test_the_environment_overrides_settings_from_dot_env(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ALLOCATION_LOG_FORMAT=xml\n")
    assert status_of(["openapi"]) == 2
    assert "ALLOCATION_LOG_FORMAT" in capsys.readouterr().err
    monkeypatch.setenv("ALLOCATION_LOG_FORMAT", "json")
    assert status_of(["openapi"]) == 0


def test_a_closed_output_pipe_causes_no_traceback(tmp_path: Path) -> None:
    # As in `allocation openapi | head -1`.
    with subprocess.Popen(
        [ALLOCATION, "openapi"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_a_shell_completes_commands_and_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert status_of(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    registered = subprocess.run(
        ["bash", "-c", f"{script}\ncomplete -p allocation"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "allocation" in registered.stdout
    assert "_ALLOCATION_COMPLETE=bash_complete" in script
    # What the shell runs at each press of the Tab key.
    monkeypatch.setenv("_ALLOCATION_COMPLETE", "bash_complete")
    for typed, offered in {"dead-letters ": "discard", "dead-letters list --": "--json", "rec": "reconcile"}.items():
        monkeypatch.setenv("COMP_WORDS", f"allocation {typed}")
        monkeypatch.setenv("COMP_CWORD", str(typed.count(" ") + 1))
        assert status_of([]) == 0
        assert f"plain,{offered}" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_there_is_a_script_for_other_shells(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["completion", shell]) == 0
    assert f"_ALLOCATION_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_the_manual_page_has_every_command_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["man"]) == 0
    page = capsys.readouterr().out
    plain = page.replace("\\-", "-")
    for command in COMMANDS[1:]:
        assert f'.SS "allocation {" ".join(command)} ' in plain
    for option in {option for options in OPTIONS.values() for option in options}:
        assert option in plain
    groff = shutil.which("groff")
    if groff is not None:
        shown = subprocess.run(
            [groff, "-man", "-Tascii", "-ww"], input=page, capture_output=True, text=True, check=True, timeout=30
        )
        assert shown.stderr == ""
        assert "Allocates order lines to batches of stock." in shown.stdout
