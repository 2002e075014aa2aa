"""A running service, its document, and a folder to generate clients into."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from app.embedded.postgresql import EmbeddedPostgresql
from app.settings import Settings
from tests.conftest import new_database
from tests.support.live import live_application

TOOLS = {"java": ("java", "javac", "mvn"), "go": ("go", "java", "mvn"), "typescript": ("node", "npm"), "python": ()}
"""The programs that the client of a language needs, besides what is in the virtual environment."""


@dataclass(frozen=True)
class Served:
    """A running service, and the document that it serves, as a file."""

    url: str
    document: Path


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip these tests unless they are selected: they download compilers' packages and take a minute."""
    if config.option.markexpr == "clients":
        return
    for item in items:
        if item.get_closest_marker("clients") is not None:
            item.add_marker(pytest.mark.skip(reason="generated clients are tested by `make test-clients`"))


@pytest.fixture
def tools(request: pytest.FixtureRequest) -> None:
    """Skip the test if a program that its language needs is missing."""
    missing = [name for name in TOOLS[request.param] if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="session")
def served(
    postgresql: EmbeddedPostgresql, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A service with a database of its own."""
    with (
        new_database(postgresql, f"TEMPLATE {template_database}") as database_url,
        live_application(Settings(_env_file=None, auth="none", database_url=SecretStr(database_url))) as url,
    ):
        document = tmp_path_factory.mktemp("document") / "openapi.json"
        document.write_bytes(httpx.get(f"{url}/openapi.json", trust_env=False, timeout=120).content)
        yield Served(url, document)
