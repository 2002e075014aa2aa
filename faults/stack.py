"""The service as it is deployed: separate processes, logs in files, and a supervisor that starts anew what died."""

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
    """One process of the service and its place: a successor in the same place has the same port and log.

    `listed` says whether callers are sent there, as a load balancer would decide.
    """

    role: Role
    number: int
    port: int
    wanted: bool = True
    listed: bool = True
    started: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None while nothing runs in this place."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def __str__(self) -> str:
        return f"{self.role}-{self.number}"


@dataclass(frozen=True)
class Death:
    """A process that ended, and whether we had ended it."""

    instance: Instance
    pid: int
    status: int
    at: float
    expected: bool


@dataclass
class Stack:
    """The processes of one round.

    `entry` is the command line before the role, `settings` are those of the service without their prefix. A supervisor
    in a thread of its own starts what died, at once, as a container runtime would, unless `supervised` is False.
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
        """Nothing runs yet."""
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._ended_by_us: set[int] = set()
        # A child ends with the thread that started it, so all of them are started by this one.
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor")

    def start(self) -> None:
        """Start everything and return once every HTTP server is ready."""
        for role, count in self.counts.items():
            for _ in range(count):
                self.add(role)
        self._supervisor.start()
        self.wait_until_ready()

    def add(self, role: Role, *, listed: bool = True) -> Instance:
        """Want one more process of that role; the supervisor starts it."""
        with self._lock:
            number = 1 + max((each.number for each in self.instances if each.role == role), default=-1)
            instance = Instance(role, number, free_port(), listed=listed)
            self.instances.append(instance)
            return instance

    def of(self, *roles: Role) -> list[Instance]:
        """The places of these roles (of all, where none is named) that are wanted."""
        with self._lock:
            return [each for each in self.instances if each.wanted and (not roles or each.role in roles)]

    def http_ports(self) -> list[int]:
        """Where HTTP is served, or will be again in a moment. Where no place is listed, any is better than none."""
        with self._lock:
            listed = [each.port for each in self.instances if each.role == "serve" and each.listed]
        return listed or [each.port for each in self.of("serve")]

    def kill(self, instance: Instance) -> int:
        """End the process with SIGKILL; returns its id. The supervisor replaces it."""
        return self.signal(instance, signal.SIGKILL, ends=True)

    def signal(self, instance: Instance, number: signal.Signals, *, ends: bool = False) -> int:
        """Send a signal to the process; returns its id. `ends` says that its death is meant."""
        with self._lock:
            assert instance.pid is not None, f"{instance} runs"
            pid = instance.pid
            if ends:
                self._ended_by_us.add(pid)
            os.kill(pid, number)
            return pid

    def remove(self, instance: Instance) -> float:
        """Stop a process for good with SIGTERM; returns how long it took. It is killed where it takes too long."""
        started = time.monotonic()
        with self._lock:
            instance.wanted = instance.listed = False
            if instance.pid is None:
                return 0.0
            self.signal(instance, signal.SIGTERM, ends=True)
        if not poll_until(lambda: instance.pid is None, seconds=STOP_SECONDS):
            self.kill(instance)
        return time.monotonic() - started

    def wait_until_ready(self) -> None:
        """Return once every process runs and every HTTP server is ready. Raises RuntimeError where one is not."""
        for instance in self.of():
            if not poll_until(functools.partial(self.is_ready, instance), seconds=START_SECONDS):
                raise RuntimeError(f"{instance} is not ready; see {self.log_of(instance)}")

    def is_ready(self, instance: Instance) -> bool:
        """Whether the process runs and, where it serves HTTP, says that it is ready."""
        if instance.pid is None:
            return False
        if instance.role != "serve":
            return True
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{instance.port}/readyz", timeout=1):
                return True
        except OSError:
            return False

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `allocation` to its end, as an operator would beside the service."""
        return subprocess.run(
            [*PLAIN_ENTRY, *arguments],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def unexpected_deaths(self) -> list[Death]:
        """Processes that ended although we had not ended them."""
        return [death for death in self.deaths if not death.expected]

    def log_of(self, instance: Instance) -> Path:
        """What the processes in that place wrote."""
        return self.home / f"{instance}.log"

    def expect_status(self, status: int) -> None:
        """Take processes that end with this status for ended by us."""
        self._expected_status = status

    def stop(self) -> None:
        """End everything: SIGTERM, and SIGKILL for what does not heed it."""
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
        command = [*dies_with_parent(signal.SIGKILL), *self.entry(instance), instance.role, *options]
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
