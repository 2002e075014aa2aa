"""Errors outside the program are explained on one line that names the server or file at fault."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from app.adapters.kafka import clients
from app.adapters.kafka.clients import KafkaConfig
from app.adapters.postgresql import connections, schema
from app.adapters.postgresql.connections import create_engine
from app.adapters.postgresql.errors import translate
from app.cli.errors import explain
from app.service_layer.ports import TemporarilyUnavailableError
from tests.support.command import assert_one_clear_line, environment, run_command


def test_a_lost_database_connection_is_explained() -> None:
    explanation = explain(translate(asyncpg.InterfaceError("connection lost")))
    assert explanation is not None
    line, status = explanation
    assert (status, "\n" in line) == (1, False)
    assert "ALLOCATION_DATABASE_URL" in line


def test_a_port_in_use_is_not_reported_as_an_unreachable_database(database_url: str, tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_command(["relay", "--metrics-port", port], environment(database_url=database_url), tmp_path)
    assert_one_clear_line(done, 2, "cannot listen", port)


def test_a_full_disk_is_not_reported_as_an_unreachable_database() -> None:
    assert explain(OSError(errno.ENOSPC, "No space left on device")) == ("[Errno 28] No space left on device", 1)


async def test_the_explanation_names_the_server_that_does_not_respond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT", 0.5)

    async def explained(ask: Callable[[], Awaitable[object]]) -> str:
        with pytest.raises((ConnectionError, TimeoutError, TemporarilyUnavailableError)) as caught:
            await ask()
        explanation = explain(caught.value)
        assert explanation is not None
        return explanation[0]

    async def mute(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.close()

    async def database_at(place: str) -> None:
        engine = create_engine(f"postgresql+asyncpg://allocation@{place}/allocation", pool_size=1)
        await schema.check(engine)

    async def in_time(ask: Awaitable[object]) -> None:
        async with asyncio.timeout(0.5):
            await ask

    held = asyncio.Event()
    async with await asyncio.start_server(mute, "127.0.0.1", 0) as silent:
        place = "{}:{}".format(*silent.sockets[0].getsockname())
        assert "database" in await explained(lambda: database_at("127.0.0.1:1"))
        assert "database" in await explained(lambda: database_at(place))
        assert "broker" in await explained(lambda: in_time(clients.check_broker(KafkaConfig(place))))
        held.set()


def test_a_bug_in_the_program_is_not_explained() -> None:
    assert explain(ValueError("a fault")) is None
