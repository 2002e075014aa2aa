"""The release before this one, installed beside this checkout: `previous_release.toml` names its commit."""

import os
import subprocess
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from faults.stack import COMMAND_SECONDS
from tests.support.downloads import FETCH_SECONDS, DownloadError, program, run, source

DESCRIPTION = Path(__file__).with_name("previous_release.toml")
REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Release:
    """Version, commit and newest revision of a release, and the folder of its files."""

    version: str
    commit: str
    revision: str
    folder: Path

    @property
    def entry(self) -> Sequence[str]:
        """Its command line before the role. `python -m app` would run the code of the working directory."""
        return (str(self.folder / ".venv" / "bin" / "allocation"),)

    @property
    def api(self) -> str:
        """Its OpenAPI document."""
        return (self.folder / "docs" / "openapi.json").read_text(encoding="utf-8")

    def migrate(self, database_url: str) -> None:
        """Bring an empty database to its schema."""
        environment = os.environ | {"ALLOCATION_DATABASE_URL": database_url}
        subprocess.run(
            [*self.entry, "migrate"], env=environment, check=True, capture_output=True, timeout=COMMAND_SECONDS
        )


@cache
def previous() -> Release:
    """Install the release, unless it is in the cache, with the packages that it locked.

    Raises DownloadError: the clone has no such commit, or a package cannot be fetched.
    """
    named = tomllib.loads(DESCRIPTION.read_text(encoding="utf-8"))
    try:
        run(
            [program("git"), "-C", REPOSITORY, "cat-file", "-e", f"{named['commit']}^{{commit}}"], seconds=FETCH_SECONDS
        )
    except DownloadError as error:
        message = f"this clone lacks commit {named['commit'][:12]}, release {named['version']}: {error}"
        raise DownloadError(message) from error
    folder = source(REPOSITORY, named["commit"])
    # A virtual environment works only in the folder for which it was made. `make` does nothing if it is complete.
    run([program("make"), "-C", folder, "install"], seconds=FETCH_SECONDS)
    return Release(**named, folder=folder)
