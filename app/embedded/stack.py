"""PostgreSQL and the broker together. All their files are in one directory, the home."""

from __future__ import annotations

import json
import os
from typing import IO, TYPE_CHECKING

from app.embedded.broker import EmbeddedBroker
from app.embedded.errors import EmbeddedStackError
from app.embedded.postgresql import EmbeddedPostgresql
from app.embedded.postmaster import lock_directory
from app.embedded.process import Startable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class EmbeddedStack(Startable):
    """Both servers, from `start` to `stop`. The database remains in the home; the broker loses its data."""

    def __init__(
        self,
        home: Path,
        *,
        database_port: int = 0,
        kafka_port: int = 0,
        bootstrap_servers: str | None = None,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Describe a stack; port 0 is any free port.

        With `bootstrap_servers` it uses that Kafka and starts no broker. `on_step` is called before each step.
        """
        self._bootstrap_servers = bootstrap_servers
        self._on_step = on_step
        self._home = home.resolve()
        self.postgresql = EmbeddedPostgresql(self._home / "postgresql", port=database_port)
        self.broker = EmbeddedBroker(port=kafka_port, log_file=self._home / "broker.log")
        self._file = self._home / "dev.json"
        self._lock: IO[str] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The address of the broker. Raises EmbeddedStackError if it is the embedded one and not started yet."""
        return self._bootstrap_servers or self.broker.bootstrap_servers

    def claim(self) -> None:
        """Lock the home for this process, and remove the `dev.json` of a crashed one.

        The first step of `start`, so that a program that waits for the file does not find an old one. Raises
        EmbeddedStackError if another process uses the home.
        """
        if self._lock is None:
            try:
                self._home.mkdir(parents=True, exist_ok=True)
                self._lock = lock_directory(self._home / "lock")
            except OSError as error:
                raise EmbeddedStackError(f"cannot use {self._home} as home: {error.strerror or error}") from error
            self._file.unlink(missing_ok=True)

    def start(self) -> None:
        """Start both. Raises EmbeddedStackError; then no process is left running."""
        self.claim()
        try:
            self._on_step("Starting PostgreSQL")
            self.postgresql.start()
            if self._bootstrap_servers is None:
                self._on_step("Starting the broker")
                self.broker.start()
        except BaseException:
            self.stop()
            raise

    def announce(self, http_url: str) -> None:
        """Write the addresses to `dev.json`. Only this user can read it, because it has the database password."""
        content = {
            "http_url": http_url,
            "database_url": self.postgresql.database_url,
            "kafka_bootstrap_servers": self.bootstrap_servers,
        }
        partial = self._file.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file, indent=2)
        partial.replace(self._file)

    def stop(self) -> None:
        """Stop both."""
        if self._lock is None:
            return
        self._file.unlink(missing_ok=True)
        self.broker.stop()
        self.postgresql.stop()
        self._lock.close()
        self._lock = None
