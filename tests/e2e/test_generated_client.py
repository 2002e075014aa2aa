"""A client generated from the OpenAPI document of a running service does what the README does with curl."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from pydantic import SecretStr

from app.embedded.postgresql import EmbeddedPostgresql
from app.settings import Settings
from tests.conftest import new_database
from tests.support import readme
from tests.support.generated_client import GeneratedClient, requests_of
from tests.support.live import live_application

PACKAGE = "allocation_client"

DRY_RUNS = """
from allocation_client import AuthenticatedClient
from allocation_client.api.allocations import allocate
from allocation_client.api.batches import create_batch
from allocation_client.api.orders import place_order
from allocation_client.models import Allocate, AllocationPreview, CreateBatch, NewOrder, OrderedLine, OrderPreview

client = AuthenticatedClient(base_url="{url}", token="any")
create_batch.sync(client=client, body=CreateBatch(ref="preview-batch", sku="PREVIEW-LAMP", qty=3))
line = Allocate(order_id="preview-order", sku="PREVIEW-LAMP", qty=1)
preview = allocate.sync(client=client, body=line, dry_run=True)
assert isinstance(preview, AllocationPreview), preview
assert preview.explanation
print(preview.reason.value)
order = NewOrder(lines=[OrderedLine(sku="PREVIEW-LAMP", qty=1)])
foreseen = place_order.sync(client=client, body=order, dry_run=True)
assert isinstance(foreseen, OrderPreview), foreseen
assert foreseen.lines[0].explanation
print(foreseen.lines[0].reason.value)
"""
"""Reads the reasons of two dry runs by the types that were generated."""


@dataclass(frozen=True)
class Generated:
    """A running service, and the folder that the client was generated into."""

    url: str
    folder: Path


@pytest.fixture(scope="module")
def generated(
    postgresql: EmbeddedPostgresql, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Generated]:
    """A client generated as in the README, from the service that the tests call."""
    folder = tmp_path_factory.mktemp("client")
    with (
        new_database(postgresql, f"TEMPLATE {template_database}") as database_url,
        live_application(Settings(_env_file=None, auth="none", database_url=SecretStr(database_url))) as url,
    ):
        command = readme.block("sh", "openapi-python-client")
        (folder / ".venv").symlink_to(sys.prefix)
        # A minimal PATH: all programs must come from .venv, also ruff, which the generator runs in another folder.
        run(["bash", "-ec", f"PATH=/usr/bin:/bin\n{command.replace(readme.URL, url)}"], folder)
        yield Generated(url, folder)


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def client(generated: Generated, monkeypatch: pytest.MonkeyPatch) -> Iterator[GeneratedClient]:
    """The client, imported as long as the test runs."""
    monkeypatch.syspath_prepend(str(generated.folder))
    importlib.invalidate_caches()
    document = httpx.get(f"{generated.url}/openapi.json", trust_env=False).json()
    yield GeneratedClient(PACKAGE, document)
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_the_readmes_session_by_way_of_a_generated_client(generated: Generated, client: GeneratedClient) -> None:
    steps = readme.session()
    requests = requests_of([command.replace(readme.URL, generated.url) for command, _ in steps])
    asked = 0
    for request, (command, output) in zip(requests, steps, strict=True):
        if request is None:
            continue
        status, answer = client.call(request)
        # A hold ends at another time in each session.
        expected, found = (readme.without_times(json.dumps(each)) for each in (_parsed(output), answer))
        assert json.loads(found) == json.loads(expected), command
        if isinstance(answer, dict) and "code" in answer:
            assert status == answer["status"]
        asked += 1
    assert asked >= 10


def _parsed(output: str) -> object:
    return json.loads(output) if output else None


def test_every_call_has_a_function_with_types_of_its_own(client: GeneratedClient) -> None:
    for operation, hints in client.functions():
        assert ("body" in hints) == ("requestBody" in operation), operation["operationId"]
        answers = [each.get("content", {}) for each in operation["responses"].values()]
        typed = {"body": "requestBody" in operation, "return": any("application/json" in each for each in answers)}
        for name, has_schema in typed.items():
            if has_schema:
                kinds = get_args(hints[name]) or (hints[name],)
                assert Any not in kinds, (operation["operationId"], name)


def test_the_reason_of_a_dry_run_is_an_attribute_of_the_generated_model(generated: Generated) -> None:
    program = generated.folder / "dry_run.py"
    program.write_text(DRY_RUNS.format(url=generated.url))
    allocation, order = run([sys.executable, program.name], generated.folder).splitlines()
    assert allocation == "in_warehouse"
    assert order == "in_warehouse"
    check = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir=cache", program.name]
    run(check, generated.folder)


def test_what_the_readme_writes_with_the_client_runs_and_has_types(generated: Generated) -> None:
    program = generated.folder / "program.py"
    program.write_text(readme.block("python", PACKAGE).replace(readme.URL, generated.url))
    assert run([sys.executable, program.name], generated.folder) == "3 2\n"
    check = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir=cache", program.name]
    run(check, generated.folder)
    program.write_text(program.read_text().replace("qty=3", 'qty="3"'))
    wrong = subprocess.run(check, cwd=generated.folder, capture_output=True, text=True, timeout=180, check=False)
    assert 'Argument "qty"' in wrong.stdout
