"""The session in the README, command by command."""

from pathlib import Path

import pytest

from tests.support.allocation_process import running_dev
from tests.support.readme import README, assert_the_session_gives_what_the_readme_shows


def test_the_session_in_the_readme_gives_what_the_readme_shows(tmp_path: Path) -> None:
    with running_dev(tmp_path) as dev:
        assert_the_session_gives_what_the_readme_shows(dev.http_url)


@pytest.mark.parametrize("command", ["make run", "make test"])
def test_the_readme_names_the_two_commands(command: str) -> None:
    assert f"\n{command} " in README.read_text()
