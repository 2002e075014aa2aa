"""The command line: help, documents, completion and the manual page."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.command import ALLOCATION, COMMANDS, environment, run_command, status_of

pytestmark = pytest.mark.usefixtures("restored_logging")

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


def test_an_empty_setting_counts_as_unset(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "SMTP_URL", "LOG_FORMAT"):
        monkeypatch.setenv(f"ALLOCATION_{name}", "")
    assert status_of(["openapi"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", GROUPS, ids=lambda command: " ".join(["allocation", *command]))
def test_a_group_without_a_command_shows_its_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of([*command, "--help"]) == 0
    asked = capsys.readouterr()
    assert status_of(command) == 0
    assert capsys.readouterr() == asked
    assert asked.out.count("\n") > 5


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
