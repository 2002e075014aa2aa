"""The release that the round `upgrade` of `make faults` starts from."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from faults import release
from faults.plan import Plan
from faults.rounds import play
from faults.scenarios import FAULTS
from faults.servers import Servers

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def _unknown_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    text = release.DESCRIPTION.read_text(encoding="utf-8")
    description = tmp_path / "release.toml"
    description.write_text(re.sub(r'commit = "\w+"', f'commit = "{40 * "0"}"', text), encoding="utf-8")
    monkeypatch.setattr(release, "DESCRIPTION", description)
    release.previous.cache_clear()
    yield
    release.previous.cache_clear()


def test_it_is_the_one_before_the_newest_section_of_the_changelog() -> None:
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (\S+)", changelog, re.MULTILINE)
    named = tomllib.loads(release.DESCRIPTION.read_text(encoding="utf-8"))

    assert named["version"] == sections[1]
    assert list((REPOSITORY / "alembic" / "versions").glob(f"{named['revision']}_*.py"))


@pytest.mark.usefixtures("_unknown_commit")
def test_a_clone_without_its_commit_leaves_the_round_out_and_says_so(tmp_path: Path) -> None:
    verdict = play("upgrade", FAULTS["upgrade"], cast("Plan", None), cast("Servers", None), tmp_path / "upgrade")

    assert "this clone lacks commit 000000000000, release 1.0.0rc1" in verdict.left_out
    assert not verdict.violations
