"""What a process imports before it works: imports are most of the processor time of a start."""

import gc
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.bootstrap import Service
from app.cli.running import run_with_service
from app.settings import Settings
from tests.support.command import COMMANDS

IMPORTED_LATE = {"aiokafka", "alembic", "asyncpg", "cryptography", "fastapi", "jwt", "pydantic", "rich", "sqlalchemy"}
SHORT_COMMANDS = [["--help"], ["--version"], *([*command, "--help"] for command in COMMANDS[1:])]
SHORT_COMMANDS += [["completion", "bash"], ["man"]]


def imported_by(program: str, folder: Path) -> set[str]:
    """The names of the modules that a process has imported when the program ends."""
    report = "\nimport sys; print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", program + report]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=folder)
    return set(done.stderr.split())


def test_short_commands_import_no_large_package(tmp_path: Path) -> None:
    program = f"""
from app.cli import main
for arguments in {SHORT_COMMANDS!r}:
    try:
        main(arguments)
    except SystemExit as ended:
        assert not ended.code, arguments
"""
    imported = imported_by(program, tmp_path)
    assert {"click", "app.cli"} <= imported
    assert IMPORTED_LATE.isdisjoint(imported)


def test_serving_imports_neither_alembic_nor_a_jwt_library(tmp_path: Path) -> None:
    program = "import app.entrypoints.server; from app.adapters.postgresql import schema; schema.head()"
    assert {"alembic", "cryptography", "jwt"}.isdisjoint(imported_by(program, tmp_path))


@pytest.mark.parametrize("arguments", [("consume",), ("relay",), ("notify",)])
def test_processes_without_http_import_no_web_framework(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        program = f"""
import os
from app.cli import main
os.environ["ALLOCATION_DATABASE_URL"] = "postgresql+asyncpg://allocation@127.0.0.1:1/allocation"
os.environ["ALLOCATION_AUTH"] = "none"
# It ends when everything is imported.
arguments = {[*arguments, "--metrics-port"]!r} + ["{taken.getsockname()[1]}"]
try:
    main(arguments)
except SystemExit as ended:
    assert ended.code == 2
"""
        imported = imported_by(program, tmp_path)
    assert "app.entrypoints.components" in imported
    assert {"fastapi", "starlette", "uvicorn"}.isdisjoint(imported)


def test_garbage_is_collected_once_the_service_runs() -> None:
    settings = Settings(
        _env_file=None, auth="none", database_url=SecretStr("postgresql+asyncpg://allocation@127.0.0.1:1/allocation")
    )
    enabled = []

    async def note(_: Service) -> None:
        enabled.append(gc.isenabled())

    # As the command line does while it loads.
    gc.disable()
    try:
        run_with_service(settings, note)
    finally:
        gc.enable()
    assert enabled == [True]
