"""The servers of a run: PostgreSQL with default durability, a broker, and processes of the service."""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from app.adapters.postgresql import schema
from app.embedded.process import free_port
from app.embedded.stack import EmbeddedStack
from app.settings import Settings

START_SECONDS = 30.0
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Stack:
    """A migrated PostgreSQL and a broker, with their addresses."""

    embedded: EmbeddedStack
    settings: Settings

    def environment(self) -> dict[str, str]:
        """The environment variables for processes of the service."""
        return os.environ | {
            "ALLOCATION_AUTH": "none",
            "ALLOCATION_DATABASE_URL": self.settings.database_url.get_secret_value(),
            "ALLOCATION_KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "ALLOCATION_KAFKA_IDEMPOTENT_PRODUCER": "false",
            "ALLOCATION_LOG_LEVEL": "WARNING",
        }

    @property
    def dsn(self) -> str:
        """The database URL for asyncpg, pgbench and psql."""
        return (
            make_url(self.settings.database_url.get_secret_value())
            .set(drivername="postgresql")
            .render_as_string(hide_password=False)
        )

    async def execute(self, statement: str, *arguments: object) -> None:
        """Run a statement without a time limit."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()

    @property
    def database_pid(self) -> int:
        """The process of PostgreSQL, whose children are its sessions."""
        return _running(self.embedded.postgresql.pid)

    @property
    def broker_pid(self) -> int:
        """The process of the broker."""
        return _running(self.embedded.broker.pid)

    def checkpoint(self) -> None:
        """Create WAL files that PostgreSQL can reuse, as a cluster has that has run for a while.

        A new cluster creates them when they are needed, and the commit at that moment waits for the disk.
        """

        async def run() -> None:
            url = make_url(self.embedded.postgresql.admin_url).set(drivername="postgresql")
            connection = await asyncpg.connect(url.render_as_string(hide_password=False))
            try:
                await connection.execute("CHECKPOINT")
            finally:
                await connection.close()

        asyncio.run(run())

    async def value(self, query: str, *arguments: object) -> Any:  # noqa: ANN401 - depends on the query
        """The single value of a query."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    def value_of(self, query: str, *arguments: object) -> Any:  # noqa: ANN401 - see `value`
        """`value` for synchronous code."""
        return asyncio.run(self.value(query, *arguments))


@dataclass(frozen=True)
class Server:
    """A process that serves HTTP."""

    port: int
    pid: int


@contextmanager
def running_stack() -> Iterator[Stack]:
    """A stack in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="allocation-bench-") as home, EmbeddedStack(Path(home)) as embedded:
        settings = Settings(
            _env_file=None,
            database_url=SecretStr(embedded.postgresql.database_url),
            kafka_bootstrap_servers=embedded.broker.bootstrap_servers,
            kafka_idempotent_producer=False,
        )
        schema.migrate(embedded.postgresql.database_url)
        yield Stack(embedded, settings)


@contextmanager
def running_server(
    stack: Stack, *arguments: str, ready: str = "/livez", settings: Mapping[str, str] | None = None
) -> Iterator[int]:
    """The port of a `server_process`."""
    with server_process(stack, *arguments, ready=ready, settings=settings) as server:
        yield server.port


@contextmanager
def server_process(
    stack: Stack, *arguments: str, ready: str = "/livez", settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A process that serves HTTP, started with `--port`, as soon as `ready` answers.

    `settings` are additional environment variables.
    """
    port = free_port()
    command = [sys.executable, "-m", *arguments, "--port", str(port)]
    with running_process(stack, command, settings) as process:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(f"http://127.0.0.1:{port}{ready}"):
            if process.poll() is not None or time.monotonic() > deadline:
                message = f"{' '.join(command)} did not start"
                raise RuntimeError(message)
            time.sleep(0.02)
        yield Server(port, process.pid)


@contextmanager
def running_process(
    stack: Stack, command: list[str], settings: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the service, terminated at the end."""
    process = subprocess.Popen(command, env=stack.environment() | dict(settings or {}))
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_json(stack: Stack, *arguments: str) -> Any:  # noqa: ANN401 - depends on the program
    """Run a program of the benchmark and parse the JSON that it prints."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, env=stack.environment(), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def resident_bytes(pid: int) -> int:
    """The resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    if found is None:
        message = f"/proc has no memory figure of process {pid}"
        raise RuntimeError(message)
    return int(found[1]) * 1024


def _running(pid: int | None) -> int:
    if pid is None:
        message = "a server of the benchmark has ended"
        raise RuntimeError(message)
    return pid


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - loopback
            return True
    except OSError:
        return False
