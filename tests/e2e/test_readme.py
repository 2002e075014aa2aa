"""The sessions in the README and on the pages about carts and holds, command by command."""

from pathlib import Path

import pytest

from tests.support.allocation_process import running_dev
from tests.support.readme import README, assert_the_session_gives_what_the_readme_shows


def test_the_sessions_give_what_the_pages_show(tmp_path: Path) -> None:
    with running_dev(tmp_path) as dev:
        for page in (README, README.parent / "docs" / "carts.md", README.parent / "docs" / "holds.md"):
            assert_the_session_gives_what_the_readme_shows(dev.http_url, page)


@pytest.mark.parametrize("command", ["make run", "make test"])
def test_the_readme_names_the_two_commands(command: str) -> None:
    assert f"\n{command} " in README.read_text()
