"""The embedded PostgreSQL: ready in seconds, keeps its data, needs no permissions changed, leaves no process behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from app.embedded.errors import EmbeddedStackError, EmbeddedStackUnavailable, PortTakenError
from app.embedded.postgresql import EmbeddedPostgresql
from app.embedded.process import free_port
from tests.embedded.processes import ended, family, is_alive, service_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_AND_PRINT = """
import sys
from pathlib import Path
from app.embedded.postgresql import EmbeddedPostgresql
server = EmbeddedPostgresql(Path(sys.argv[1]), durable=False)
server.start()
print(server.pid, server.database_url, flush=True)
"""


@pytest.fixture
def new_data_dir(tmp_path: Path) -> Path:
    """A data directory that does not exist yet, in a home that only its owner can read."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return home / "postgresql"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that earlier tests have used, because creating one takes a while."""
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    return home / "postgresql"


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgresql]:
    with EmbeddedPostgresql(data_dir, durable=False) as server:
        yield server


async def connect(server: EmbeddedPostgresql) -> asyncpg.Connection:
    return await asyncpg.connect(server.database_url.replace("+asyncpg", ""))


async def test_is_ready_within_seconds_and_sorts_alike_everywhere(new_data_dir: Path) -> None:
    began = time.monotonic()
    with EmbeddedPostgresql(new_data_dir, durable=False) as server:
        took = time.monotonic() - began
        connection = await connect(server)
        identity = await connection.fetchrow(
            "SELECT current_user::text, current_database()::text, current_setting('server_encoding'),"
            " current_setting('server_version_num')::int / 10000 AS version, 'B' < 'a' AS by_code_point"
        )
        await connection.close()
    assert tuple(identity) == ("allocation", "allocation", "UTF8", 18, True)
    assert took < 30


async def test_data_survive_a_stop_and_a_start(server: EmbeddedPostgresql, data_dir: Path) -> None:
    connection = await connect(server)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await connection.close()
    server.stop()
    with EmbeddedPostgresql(data_dir, durable=False) as successor:
        connection = await connect(successor)
        assert await connection.fetchval("SELECT answer FROM kept") == 42
        await connection.close()


async def test_committed_data_survive_a_killed_service(data_dir: Path) -> None:
    with service_process(START_AND_PRINT, str(data_dir)) as (service, _, url):
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        await connection.execute("CREATE TABLE kept_by_the_log AS SELECT 42 AS answer")
        service.kill()
        with EmbeddedPostgresql(data_dir, durable=False) as successor:
            reconnected = await connect(successor)
            assert await reconnected.fetchval("SELECT answer FROM kept_by_the_log") == 42
            await reconnected.close()
        connection.terminate()


def test_keeps_its_port_over_a_restart(server: EmbeddedPostgresql) -> None:
    port = server.port
    server.stop()
    server.start()
    assert server.port == port


def test_changes_no_permission_but_those_of_its_data_directory(new_data_dir: Path) -> None:
    with EmbeddedPostgresql(new_data_dir, durable=False):
        pass
    assert stat.S_IMODE(new_data_dir.parent.stat().st_mode) == 0o700
    assert new_data_dir.parent.stat().st_uid == os.geteuid()
    assert stat.S_IMODE(new_data_dir.with_name("postgresql.password").stat().st_mode) == 0o600


def test_leaves_no_process_behind_and_may_be_stopped_twice(server: EmbeddedPostgresql) -> None:
    pids = family(server.pid)
    server.stop()
    server.stop()
    assert ended(pids)
    assert server.pid is None


def test_ends_with_a_service_that_is_killed(data_dir: Path) -> None:
    with service_process(START_AND_PRINT, str(data_dir)) as (service, pid, _):
        pids = family(pid)
        service.kill()
        assert ended(pids)


def test_outlives_an_interrupt_typed_in_the_terminal(data_dir: Path) -> None:
    with service_process(START_AND_PRINT, str(data_dir)) as (service, pid, _):
        assert os.getsid(pid) != os.getsid(service.pid)
        assert os.getpgid(pid) != os.getpgid(service.pid)


def test_takes_over_from_a_postmaster_of_an_earlier_run(data_dir: Path, server: EmbeddedPostgresql) -> None:
    leftover = server.pid
    assert leftover is not None
    # A service releases the lock when it dies; its server can live a moment longer.
    assert server._lock is not None
    server._lock.close()
    with EmbeddedPostgresql(data_dir, durable=False) as successor:
        assert successor.pid not in {None, leftover}
        assert not is_alive(leftover)


def test_refuses_a_directory_that_another_service_uses(
    data_dir: Path, server: EmbeddedPostgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.embedded.postmaster.LOCK_SECONDS", 0.1)
    with pytest.raises(EmbeddedStackError, match="another process"):
        EmbeddedPostgresql(data_dir, durable=False).start()
    assert is_alive(family(server.pid)[0])


def test_starts_again_after_its_postmaster_was_killed(server: EmbeddedPostgresql) -> None:
    pids = family(server.pid)
    os.kill(pids[0], signal.SIGKILL)
    assert ended(pids[1:])
    server.start()
    assert server.pid not in {None, pids[0]}


def test_a_port_that_is_taken_is_refused_by_name_and_leaves_nothing_running(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = EmbeddedPostgresql(data_dir, port=port, durable=False)
        with pytest.raises(PortTakenError, match=f"port {port} .* is taken"):
            server.start()
        assert server.pid is None


def test_moves_to_another_port_when_it_lost_the_race_for_one(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        offers = iter([taken, free_port()])
        monkeypatch.setattr("app.embedded.process.free_port", lambda: next(offers))
        with EmbeddedPostgresql(data_dir, durable=False) as server:
            assert server.port != taken


def test_a_server_that_cannot_start_shows_the_tail_of_its_log(new_data_dir: Path) -> None:
    server = EmbeddedPostgresql(new_data_dir, durable=False)
    server.start()
    server.stop()
    (new_data_dir / "postgresql.auto.conf").write_text("no_such_setting = on\n", encoding="ascii")
    with pytest.raises(EmbeddedStackError, match="no_such_setting"):
        server.start()
    assert server.pid is None


def test_a_lost_password_is_reported_on_one_line(new_data_dir: Path) -> None:
    server = EmbeddedPostgresql(new_data_dir, durable=False)
    server.start()
    server.stop()
    new_data_dir.with_name("postgresql.password").unlink()
    with pytest.raises(EmbeddedStackError, match=r"^[^\n]*password is missing[^\n]*$"):
        server.start()


def test_without_a_wheel_the_error_names_the_setting_to_use(
    new_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.embedded.wheels.importlib.util.find_spec", lambda _: None)
    with pytest.raises(EmbeddedStackUnavailable) as caught:
        EmbeddedPostgresql(new_data_dir).start()
    message = str(caught.value)
    assert "\n" not in message
    assert "no wheel" in message
    for hint in ("ALLOCATION_DATABASE_URL", "ALLOCATION_KAFKA_BOOTSTRAP_SERVERS", "allocation run"):
        assert hint in message
    assert not new_data_dir.parent.joinpath("postgresql.lock").exists()
