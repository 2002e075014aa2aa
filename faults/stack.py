"""The deployed service: separate processes, log files, and a supervisor that restarts dead ones."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from app.embedded.process import LOOPBACK, dies_with_parent, free_port, poll_until

Role = Literal["serve", "consume", "relay", "notify"]
PLAIN_ENTRY = (sys.executable, "-m", "app")
START_SECONDS = 60.0
STOP_SECONDS = 20.0
SUPERVISOR_INTERVAL = 0.02
COMMAND_SECONDS = 120.0
STATUS_OF_SIGTERM = -signal.SIGTERM


@dataclass(eq=False)
class Instance:
    """A process of the service and its slot: a successor in the slot has the same port and log.

    `listed`: the load balancer directs callers to it. `entry` is its command line before the role.
    """

    role: Role
    number: int
    port: int
    entry: Sequence[str] = ()
    wanted: bool = True
    listed: bool = True
    started: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None if no process runs in the slot."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def __str__(self) -> str:
        return f"{self.role}-{self.number}"


@dataclass(frozen=True)
class Death:
    """A process that exited, and whether that was intended."""

    instance: Instance
    pid: int
    status: int
    at: float
    expected: bool


@dataclass
class Stack:
    """The processes of one round.

    `entry` gives a new slot its command line before the role, `settings` are those of the service without their prefix.
    A supervisor thread restarts dead processes at once, like a container runtime, unless `supervised` is False.
    """

    home: Path
    database_url: str
    bootstrap_servers: str
    counts: Mapping[Role, int]
    settings: Mapping[str, str] = field(default_factory=dict)
    entry: Callable[[Instance], Sequence[str]] = lambda _: PLAIN_ENTRY
    supervised: bool = True
    instances: list[Instance] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Store the configuration; start nothing."""
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._ended_by_us: set[int] = set()
        # A child ends with the thread that started it, so this thread starts all of them.
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor")

    def start(self) -> None:
        """Start all processes and return when every HTTP server is ready."""
        for role, count in self.counts.items():
            for _ in range(count):
                self.add(role)
        self._supervisor.start()
        self.wait_until_ready()

    def add(self, role: Role, *, listed: bool = True) -> Instance:
        """Add a process of that role; the supervisor starts it."""
        with self._lock:
            number = 1 + max((each.number for each in self.instances if each.role == role), default=-1)
            instance = Instance(role, number, free_port(), listed=listed)
            instance.entry = self.entry(instance)
            self.instances.append(instance)
            return instance

    def of(self, *roles: Role) -> list[Instance]:
        """The wanted slots of these roles (default: all)."""
        with self._lock:
            return [each for each in self.instances if each.wanted and (not roles or each.role in roles)]

    def http_ports(self) -> list[int]:
        """The ports of HTTP servers, running or restarting. If none is listed, all of them."""
        with self._lock:
            listed = [each.port for each in self.instances if each.role == "serve" and each.listed]
        return listed or [each.port for each in self.of("serve")]

    def kill(self, instance: Instance) -> int:
        """Kill the process; returns its id. The supervisor replaces it."""
        return self.signal(instance, signal.SIGKILL, ends=True)

    def signal(self, instance: Instance, number: signal.Signals, *, ends: bool = False) -> int:
        """Send a signal to the process; returns its id. `ends`: its exit is intended."""
        with self._lock:
            assert instance.pid is not None, f"{instance} runs"
            pid = instance.pid
            if ends:
                self._ended_by_us.add(pid)
            os.kill(pid, number)
            return pid

    def remove(self, instance: Instance) -> float:
        """Stop a process permanently with SIGTERM; returns the duration. It is killed after a timeout."""
        started = time.monotonic()
        with self._lock:
            instance.wanted = instance.listed = False
            if instance.pid is None:
                return 0.0
            self.signal(instance, signal.SIGTERM, ends=True)
        if not poll_until(lambda: instance.pid is None, seconds=STOP_SECONDS):
            self.kill(instance)
        return time.monotonic() - started

    def halt(self) -> None:
        """Stop all processes with SIGTERM, until `resume`. Raises RuntimeError if one does not stop."""
        with self._lock:
            self.supervised = False
            for instance in self.instances:
                if instance.pid is not None:
                    self.signal(instance, signal.SIGTERM, ends=True)
        if not poll_until(lambda: all(each.pid is None for each in self.instances), seconds=STOP_SECONDS):
            raise RuntimeError("a process does not stop")

    def resume(self) -> None:
        """Start the processes again, and return when every HTTP server is ready."""
        self.supervised = True
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return when every process runs and every HTTP server is ready. Raises RuntimeError otherwise."""
        for instance in self.of():
            if not poll_until(functools.partial(self.is_ready, instance), seconds=START_SECONDS):
                raise RuntimeError(f"{instance} is not ready; see {self.log_of(instance)}")

    def is_ready(self, instance: Instance) -> bool:
        """Whether the process runs and, with HTTP, is ready."""
        if instance.pid is None:
            return False
        if instance.role != "serve":
            return True
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{instance.port}/readyz", timeout=1):
                return True
        except OSError:
            return False

    def command(self, *arguments: str, entry: Sequence[str] = PLAIN_ENTRY) -> subprocess.CompletedProcess[str]:
        """Run a command of `allocation` to its end, like an operator."""
        return subprocess.run(
            [*entry, *arguments],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def unexpected_deaths(self) -> list[Death]:
        """Processes that exited unexpectedly."""
        return [death for death in self.deaths if not death.expected]

    def log_of(self, instance: Instance) -> Path:
        """The log of the slot."""
        return self.home / f"{instance}.log"

    def expect_status(self, status: int) -> None:
        """Treat exits with this status as intended."""
        self._expected_status = status

    def stop(self) -> None:
        """Stop all processes: SIGTERM, then SIGKILL after a timeout."""
        self._stopping.set()
        if self._supervisor.is_alive():
            self._supervisor.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    _expected_status: int | None = None

    def _supervise(self) -> None:
        try:
            while not self._stopping.wait(SUPERVISOR_INTERVAL):
                with self._lock:
                    for instance in self.instances:
                        self._tend(instance)
        finally:
            self._end_all()

    def _tend(self, instance: Instance) -> None:
        process = instance.process
        if process is not None:
            status = process.poll()
            if status is None:
                return
            expected = process.pid in self._ended_by_us or status == self._expected_status
            self.deaths.append(Death(instance, process.pid, status, time.time(), expected))
            instance.process = None
        if instance.wanted and (self.supervised or not instance.started):
            instance.started = True
            instance.process = self._spawn(instance)

    def _spawn(self, instance: Instance) -> subprocess.Popen[bytes]:
        options = ["--port", str(instance.port)] if instance.role == "serve" else ["--metrics-port", str(instance.port)]
        command = [*dies_with_parent(signal.SIGKILL), *instance.entry, instance.role, *options]
        with self.log_of(instance).open("ab") as log:
            return subprocess.Popen(
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ALLOCATION_")}
        settings = {
            "AUTH": "none",
            "DATABASE_URL": self.database_url,
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            **{name.upper(): value for name, value in self.settings.items()},
        }
        return inherited | {f"ALLOCATION_{name}": value for name, value in settings.items()}

    def _end_all(self) -> None:
        processes = [each.process for each in self.instances if each.process is not None]
        for number, seconds in ((signal.SIGCONT, 0.0), (signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            for process in processes:
                if process.poll() is None:
                    process.send_signal(number)
            if poll_until(lambda: all(process.poll() is not None for process in processes), seconds=seconds):
                return
