"""The README's session, as a newcomer would type it."""

import json
import subprocess
from pathlib import Path

import pytest

from app.embedded.process import free_port
from tests.support.allocation_process import running_dev
from tests.support.readme import README, URL, session


def test_the_session_in_the_readme_gives_what_the_readme_shows(tmp_path: Path) -> None:
    port = free_port()
    script, expected = "", ""
    for command, output in session():
        script += f"{command.replace(URL, f'http://127.0.0.1:{port}')}\necho\n"
        expected += f"{output}\n"
    assert "moved" in expected
    with running_dev(tmp_path, port=port):
        shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=30).stdout
    assert [_value(line) for line in shown.splitlines() if line] == [
        _value(line) for line in expected.splitlines() if line
    ]


def _value(line: str) -> object:
    return json.loads(line)


@pytest.mark.parametrize("command", ["make run", "make test"])
def test_the_readme_names_the_two_commands(command: str) -> None:
    assert f"\n{command} " in README.read_text()
