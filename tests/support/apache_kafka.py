"""A real Apache Kafka for tests: one KRaft node from Maven's jars, as a child process. Needs Java 17 and, once, Maven.

`python -m tests.support.apache_kafka fetch` fetches the jars and does nothing else. `make run BROKER=apache` uses
`… run DATA_DIR COMMAND...`: it runs the command beside a node, with `{bootstrap_servers}` in its arguments replaced.
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

from app.embedded.errors import EmbeddedStackError
from app.embedded.process import LOOPBACK, Child, free_port, start_server
from tests.support.downloads import DownloadError, jars, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

POM = Path(__file__).parents[1] / "apache_kafka" / "pom.xml"
FORMAT_SECONDS = 60.0
READY_SECONDS = 60.0
STOP_STEPS = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))

# Client compilation only, and one collector thread: a test broker lives too shortly for more to pay on two cores.
JVM_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=INFO")

# The short broker session matters after `kill`: until it has run out, the node's own controller takes the node that is
# back for a second one with the same id. Topics of Kafka's own get one partition, since each costs time to load.
CONFIGURATION = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={logs}
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=250
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


class ApacheKafkaError(RuntimeError):
    """Apache Kafka cannot be had or run here; the message says why in a line that a person can act upon."""


class ApacheKafka:
    """One Kafka node on 127.0.0.1 whose data and log lie in `data_dir` and live on over restarts of this object.

    Start it from the main thread: a child ends with the thread that started it (see `process.dies_with_parent`).
    """

    def __init__(self, *, data_dir: Path, port: int = 0, configuration: str = "", heap: str = "512m") -> None:
        """Describe a node on `port`; 0 takes any free port and keeps it over restarts where possible.

        `configuration` are lines that come after the node's own, and so before them where both say something.
        """
        self.data_dir = data_dir.resolve()
        self.log_file = self.data_dir / "kafka.log"
        self.logs = self.data_dir / "logs"
        self.port = port
        self._any_port = port == 0
        self._configuration = configuration
        self._heap = heap
        self._child: Child | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The `host:port` that clients are given."""
        assert self.port, "Apache Kafka has not been started yet"
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id of the Java virtual machine, None while it does not run."""
        return self._child.pid if self._child is not None and self._child.running else None

    def start(self) -> None:
        """Start the node and return once it takes requests; fetches the jars first where they are missing.

        Raises ApacheKafkaError without Java or Maven, and what `start_server` raises. No-op when it runs already.
        """
        if self.pid is not None:
            return
        self._child, self.port = start_server(
            self._spawn,
            port=self.port,
            any_port=self._any_port,
            ready=lambda child, _: _has_started(child),
            seconds=READY_SECONDS,
        )

    def launch(self) -> None:
        """Start the node on its port and return at once: the nodes of a cluster wait for each other."""
        assert self.port, "a node that is launched has a port"
        self._child = self._spawn(self.port)

    def wait_until_ready(self) -> None:
        """Return once a launched node takes requests. Raises what `start_server` raises."""
        child = self._child
        assert child is not None, "the node has been launched"
        child.wait_until_ready(lambda: _has_started(child), seconds=READY_SECONDS)

    def stop(self) -> None:
        """Shut the node down in order. Does nothing when it does not run."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def kill(self) -> None:
        """End the node with SIGKILL, as a crash would; `start` brings it back with the same data and port."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def restart(self) -> None:
        """Stop the node and start it again with the same data and port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def format(self, port: int) -> None:
        """Give the node's empty log directory the identity of a new cluster. `start` does so where it is needed."""
        self._configure(port)
        cluster = random_id()
        java, configuration = self._java(), self.data_dir / "server.properties"
        tool = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", configuration]
        try:
            run(tool, seconds=FORMAT_SECONDS)
        except DownloadError as error:
            raise ApacheKafkaError(f"Kafka's StorageTool: {error}") from error

    def _java(self) -> list[str | Path]:
        return [_program("java"), f"-Xmx{self._heap}", *JVM_OPTIONS, "-cp", f"{fetch()}/*"]

    def _configure(self, port: int) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        (self.data_dir / "server.properties").write_text(
            CONFIGURATION.format(host=LOOPBACK, port=port, controller_port=free_port(), logs=self.logs)
            + self._configuration.format(host=LOOPBACK, port=port),
            encoding="utf-8",
        )

    def _spawn(self, port: int) -> Child:
        if (self.logs / "meta.properties").exists():
            self._configure(port)
        else:
            self.format(port)
        return Child(
            [*self._java(), "kafka.Kafka", self.data_dir / "server.properties"],
            name="Apache Kafka",
            log_file=self.log_file,
            env=os.environ,
            stop_steps=STOP_STEPS,
        )


def fetch() -> Path:
    """Return the directory with the jars of Kafka, having Maven copy them there when they are not there yet.

    The directory is in the cache of tests/support/downloads.py. Raises ApacheKafkaError when Maven is missing or
    fails.
    """
    try:
        return jars(POM)
    except DownloadError as error:
        raise ApacheKafkaError(f"Apache Kafka cannot be fetched: {error}") from error


def random_id() -> str:
    """An identifier of a cluster or directory, in Kafka's form."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


def _has_started(child: Child) -> bool:
    """Whether the node takes requests. Its port answers before the node has been admitted to its own cluster."""
    return "Kafka Server started" in child.log()


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ApacheKafkaError(f"`{name}` is not installed: Apache Kafka needs Java 17 or later and Maven")
    return path


def run_beside(data_dir: Path, command: Sequence[str]) -> int:
    """Run the command beside a node, to its end; return its exit status. Ctrl-C and SIGTERM reach the command alone."""
    print("Starting Apache Kafka", flush=True)
    with ApacheKafka(data_dir=data_dir) as node:
        process = subprocess.Popen([part.replace("{bootstrap_servers}", node.bootstrap_servers) for part in command])
        # The terminal sends SIGINT to the command as well, which then ends on its own.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
        return process.wait()


def main() -> int:
    """Fetch the jars, or run a command beside a node; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.apache_kafka", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("fetch", help="fetch the jars of Apache Kafka into the cache")
    run = actions.add_parser("run", help="run a command beside a node")
    run.add_argument("data_dir", type=Path)
    run.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    try:
        if arguments.action == "run":
            return run_beside(arguments.data_dir, arguments.command)
        print(fetch())
    except (ApacheKafkaError, EmbeddedStackError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
