"""The wheel, installed into an empty environment of another Python and used from a folder of no meaning to it."""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.adapters.postgresql import schema
from app.embedded.process import free_port
from tests.support.allocation_process import running_dev
from tests.support.command import Command, assert_one_clear_line, environment
from tests.support.interpreters import another_python
from tests.support.readme import assert_the_session_gives_what_the_readme_shows

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
SECONDS = 300
UNREACHABLE = ("error sending request", "network was disabled", "failed to fetch", "dns error", "Connection refused")


@dataclass(frozen=True)
class Installed:
    """An environment with nothing in it but the wheel and what it needs."""

    wheel: Path
    folder: Path
    site_packages: Path

    @property
    def program(self) -> Path:
        """The console script."""
        return self.folder / "bin" / "allocation"

    def run(self, *arguments: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run the console script to its end."""
        return _run(self.program, *arguments, cwd=cwd, env=env)


def _run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=_clean() if env is None else dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def _clean() -> dict[str, str]:
    """The environment without what would lead back to this checkout."""
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}


def _uv(*arguments: str | Path, cwd: Path) -> str:
    """Run uv, from its cache alone where that is enough. Skips the test where no package index can be reached."""
    done = _run(UV, *arguments[:1], "--offline", *arguments[1:], cwd=cwd)
    if done.returncode != 0:
        done = _run(UV, *arguments, cwd=cwd)
    if done.returncode == 0:
        return done.stdout
    if any(words.lower() in done.stderr.lower() for words in UNREACHABLE):
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    raise AssertionError(done.stderr)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution and not from the checkout: so both are complete."""
    folder = tmp_path_factory.mktemp("dist")
    hatch = (sys.executable, "-m", "hatchling", "build", "--directory", folder)
    done = _run(*hatch, "--target", "sdist", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        content.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    done = _run(*hatch, "--target", "wheel", cwd=source)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of another Python where this machine has one, beside a foreign package `app`."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    _uv("venv", "--quiet", "--python", another_python() or sys.executable, folder, cwd=folder.parent)
    # The versions that are tested everywhere else, which for this version of Python are in the cache already.
    constraints = ROOT / "requirements" / "dev.txt"
    python = folder / "bin" / "python"
    install = ("pip", "install", "--quiet", "--compile-bytecode", "--python", python, "--constraint", constraints)
    _uv(*install, f"{wheel}[embedded]", cwd=folder.parent)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    foreign = site_packages / "app"
    foreign.mkdir()
    (foreign / "__init__.py").write_text("OWNER = 'another distribution'\n")
    return Installed(wheel, folder, site_packages)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A working directory with nothing of the project in it."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.fixture
def serving(installed: Installed, database_url: str, tmp_path: Path) -> Iterator[str]:
    """`allocation serve` of the wheel with two processes, and its URL."""
    port = free_port()
    env = _clean() | environment(None, auth="none", database_url=database_url)
    arguments = ("serve", "--port", str(port), "--workers", "2")
    command = Command(*arguments, env=env, log=tmp_path / "serve.log", program=installed.program)
    try:
        url = f"http://127.0.0.1:{port}"
        command.wait_until_ready(url)
        yield url
    finally:
        command.stop()


def test_the_wheel_has_one_top_level_package_of_the_name_of_the_distribution(wheel: Path) -> None:
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"allocation"}


def test_the_wheel_bears_its_licence_and_its_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        assert "License-Expression: Apache-2.0" in content.read(metadata).decode()
    assert "allocation/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_a_foreign_package_app_in_the_same_environment_still_works(installed: Installed, elsewhere: Path) -> None:
    python = installed.folder / "bin" / "python"
    assert _run(python, "-c", "import app; print(app.OWNER)", cwd=elsewhere).stdout == "another distribution\n"
    assert installed.run("--version", cwd=elsewhere, env=_clean()).stdout.startswith("allocation, version ")


def test_the_wheel_migrates_a_database_from_any_folder(
    installed: Installed, empty_database_url: str, elsewhere: Path
) -> None:
    env = environment(None, database_url=empty_database_url)
    for _ in range(2):
        done = installed.run("migrate", cwd=elsewhere, env=env)
        assert done.stderr.count("Traceback") == 0, done.stderr
        assert done.stdout == f"The schema is at revision {schema.head()}.\n"


def test_the_wheel_serves_from_several_processes(serving: str) -> None:
    assert httpx.get(f"{serving}/readyz", trust_env=False).json() == {"status": "ready"}
    assert httpx.get(f"{serving}/docs", trust_env=False).status_code == 200


def test_dev_of_the_wheel_plays_the_session_of_the_readme(
    installed: Installed, elsewhere: Path, tmp_path: Path
) -> None:
    with running_dev(tmp_path / "home", program=(str(installed.program),), cwd=elsewhere) as dev:
        assert_the_session_gives_what_the_readme_shows(dev.http_url)


def test_a_tool_runner_runs_the_wheel_without_an_installation(wheel: Path, elsewhere: Path) -> None:
    constraints = ROOT / "requirements" / "dev.txt"
    command = ("tool", "run", "--constraints", constraints, "--from", wheel, "allocation")
    assert _uv(*command, "--help", cwd=elsewhere).startswith("Usage: allocation ")
    # Without the extra with the servers of `allocation dev`, the error names what to install.
    done = _run(UV, *command, "dev", "--port", "0", cwd=elsewhere)
    assert done.returncode == 2
    assert "allocation[embedded]" in done.stderr


def test_an_installation_without_migrations_reports_that_and_does_not_start(
    installed: Installed, elsewhere: Path, database_url: str
) -> None:
    migrations = installed.site_packages / "allocation" / "alembic"
    aside = migrations.rename(migrations.with_name("aside"))
    env = environment(None, auth="none", database_url=database_url)
    try:
        for command in (["migrate"], ["serve", "--port", "0"]):
            done = installed.run(*command, cwd=elsewhere, env=env)
            assert_one_clear_line(done, 2, "installation is incomplete")
    finally:
        aside.rename(migrations)
