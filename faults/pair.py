"""A PostgreSQL primary and its standby with streaming replication."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from sqlalchemy.engine import make_url

from app.embedded import postmaster
from app.embedded.postgresql import EmbeddedPostgresql
from app.embedded.process import free_port, poll_until

ATTACH_SECONDS = 30.0
PROMOTE_SECONDS = 30

CONNECTIONS = 200
"""Of each server: with four cells the processes of a round hold 54, and after a black hole as many are left behind."""


def clone(primary: EmbeddedPostgresql, data_dir: Path, *, port: int = 0) -> EmbeddedPostgresql:
    """A hot standby of a running server, not started yet. `data_dir` must not exist."""
    data_dir.mkdir(mode=0o700, parents=True)
    postmaster.hand_over_when_root(data_dir)
    url = make_url(primary.admin_url)
    done = subprocess.run(
        [
            *postmaster.run_as(data_dir, primary.bin_dir),
            primary.bin_dir / "pg_basebackup",
            "--checkpoint=fast",
            "--wal-method=stream",
            # It starts as a standby and connects to its primary automatically.
            "--write-recovery-conf",
            "--no-sync",
            f"--pgdata={data_dir}",
            f"--host={url.host}",
            f"--port={url.port}",
            f"--username={url.username}",
        ],
        env={**postmaster.ENVIRONMENT, "PGPASSWORD": str(url.password)},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    shutil.copy(_password_file(primary.data_dir), _password_file(data_dir))
    return EmbeddedPostgresql(data_dir, port=port, durable=False, connections=CONNECTIONS)


class Pair:
    """A primary with a standby, synchronous or not, on two ports that do not change with failovers."""

    def __init__(self, directory: Path, *, synchronous: bool = True) -> None:
        self._synchronous = synchronous
        self._directory = directory
        self._number = 0
        self.primary = EmbeddedPostgresql(
            self._next_directory(), port=free_port(), durable=False, connections=CONNECTIONS
        )
        self.standby: EmbeddedPostgresql | None = None

    def url(self, database: str = "allocation") -> str:
        """The URL of a database that names both servers."""
        first = make_url(self.primary.database_url).set(database=database)
        assert self.standby is not None
        ports = sorted((self.primary.port, self.standby.port))
        text = first.render_as_string(hide_password=False)
        return text.replace(f"{first.host}:{first.port}", ",".join(f"{first.host}:{port}" for port in ports))

    def start(self) -> None:
        """Start both servers, and return when the standby follows."""
        self.primary.start()
        self.attach(free_port())

    def attach(self, port: int) -> None:
        """Start a new standby on the port; a synchronous one makes the primary wait for it at each commit."""
        self.standby = clone(self.primary, self._next_directory(), port=port)
        self.standby.start()
        if self._synchronous:
            sql(self.primary, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        assert poll_until(self._is_followed, seconds=ATTACH_SECONDS), "the standby does not follow"

    def part(self) -> None:
        """End the replication; returns when the standby receives nothing more."""
        assert self.standby is not None, "there is no standby"
        sql(self.standby, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
        assert poll_until(
            lambda: sql(self.primary, "SELECT count(*) FROM pg_stat_replication") == "0", seconds=ATTACH_SECONDS
        ), "the standby still follows"

    def fail_over(self) -> EmbeddedPostgresql:
        """Crash the primary and promote the standby; returns the stopped former primary."""
        former = self.crash()
        self.promote()
        return former

    def crash(self) -> EmbeddedPostgresql:
        """Kill the primary without notice to its clients or standby."""
        assert self.primary.pid is not None, "the primary does not run"
        os.kill(self.primary.pid, signal.SIGQUIT)
        self.primary.stop()
        return self.primary

    def promote(self) -> None:
        """Promote the standby. It does not wait for a standby until one is attached."""
        assert self.standby is not None, "there is no standby to promote"
        self.primary, self.standby = self.standby, None
        sql(
            self.primary,
            "ALTER SYSTEM RESET synchronous_standby_names",
            "SELECT pg_reload_conf()",
            f"SELECT pg_promote(true, {PROMOTE_SECONDS})",
        )

    def stop(self) -> None:
        """Stop both servers."""
        for server in (self.standby, self.primary):
            if server is not None:
                server.stop()

    def _is_followed(self) -> bool:
        state = "sync" if self._synchronous else "async"
        return sql(self.primary, "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'") == state

    def _next_directory(self) -> Path:
        self._number += 1
        return self._directory / f"server-{self._number}"


def sql(server: EmbeddedPostgresql, *statements: str) -> str:
    """Run statements as superuser, each outside of a transaction. Returns their output, in lines."""
    url = make_url(server.admin_url)
    done = subprocess.run(
        [
            server.bin_dir / "psql",
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
            f"--host={url.host}",
            f"--port={url.port}",
            f"--username={url.username}",
            f"--dbname={url.database}",
            *(f"--command={statement}" for statement in statements),
        ],
        env={**postmaster.ENVIRONMENT, "PGPASSWORD": str(url.password)},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _password_file(data_dir: Path) -> Path:
    return data_dir.with_name(f"{data_dir.name}.password")
