"""Child processes of the embedded stack: started on a free port, and stopped with their parent.

A child runs in a session of its own, so that Ctrl-C in the terminal reaches only the service, which drains before it
stops its servers. On Linux a child also ends when its parent is killed (see `dies_with_parent`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from app.embedded.errors import EmbeddedStackError, PortTakenError, ServerExitedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType


LOOPBACK = "127.0.0.1"
UNASSIGNED_PORTS = range(15_000, 32_768)
"""Below the ports that Linux assigns to outgoing connections: one of these could take a free port before its server
starts."""
POLL_SECONDS = 0.01
PORT_ATTEMPTS = 5
LOG_TAIL_LINES = 15


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1. Another process may take it before the caller uses it."""
    while True:
        # Not from `random`, which tests may have seeded alike in several processes.
        port = secrets.choice(UNASSIGNED_PORTS)
        if port_is_free(port):
            return port


def port_is_free(port: int) -> bool:
    """Whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: without it, closed connections of a server that just stopped would block its port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def poll_until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Wait until `condition` holds, for at most `seconds`. Returns whether it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)  # poll
    return True


@functools.cache
def dies_with_parent(parent_death_signal: signal.Signals) -> tuple[str, ...]:
    """Return the command prefix with which the kernel sends `parent_death_signal` when the parent ends, even killed.

    The kernel sends it when the *thread* that started the child ends, so servers have to be started from the main
    thread. If util-linux's `setpriv` is missing or too old (macOS has no such kernel feature), the prefix is empty, and
    a killed parent leaves its servers running.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    prefix = (setpriv, "--pdeathsig", parent_death_signal.name.removeprefix("SIG"))
    attempt = subprocess.run([*prefix, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return prefix if attempt.returncode == 0 else ()


class Startable(ABC):
    """A context manager that starts and stops servers."""

    @abstractmethod
    def start(self) -> None:
        """Start the servers. Raises EmbeddedStackError."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the servers."""

    def __enter__(self) -> Self:
        """Start the servers."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the servers."""
        self.stop()


class Child:
    """A server process. The methods are synchronous and not thread-safe."""

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        name: str,
        log_file: Path,
        env: Mapping[str, str],
        stop_steps: Sequence[tuple[signal.Signals, float]],
        parent_death_signal: signal.Signals = signal.SIGKILL,
        run_as: Sequence[str] = (),
    ) -> None:
        """Start `command`; its output is appended to `log_file`.

        `stop_steps` are the signals that `stop` sends, each with the seconds in which the process has to end. `run_as`
        is a command prefix that changes the user. `name` is the name of the server in errors.
        """
        self.name = name
        self.log_file = log_file
        self._stop_steps = stop_steps
        # The change of user comes first, because it resets the signal that `dies_with_parent` sets.
        arguments = [*run_as, *dies_with_parent(parent_death_signal), *(os.fspath(part) for part in command)]
        with log_file.open("ab") as log:
            self._log_start = log.seek(0, os.SEEK_END)
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(env),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id of the server: each prefix command replaces itself with `exec`."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def log(self) -> str:
        """Return the output of the server since its start."""
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def wait_until_ready(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until `ready` returns true, for at most `seconds`.

        Raises ServerExitedError if the process ends first, and EmbeddedStackError if the time runs out.
        """
        became_ready = poll_until(lambda: not self.running or ready(), seconds=seconds)
        if not self.running:
            raise ServerExitedError(
                f"{self.name} ended with status {self._process.returncode} before it was ready{self._tail()}"
            )
        if not became_ready:
            raise EmbeddedStackError(f"{self.name} was not ready within {seconds:g} seconds{self._tail()}")

    def stop(self) -> None:
        """Stop the process with the signals of `stop_steps`. Does nothing when it has ended already."""
        for step, seconds in self._stop_steps:
            if not self.running:
                break
            self._process.send_signal(step)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)

    def kill(self) -> None:
        """End the process with SIGKILL, like a crash, and wait for it."""
        self._process.kill()
        self._process.wait()

    def _tail(self) -> str:
        lines = self.log().splitlines()[-LOG_TAIL_LINES:]
        return "".join(f"\n  {line}" for line in [f"(see {self.log_file})", *lines])


def start_server(
    start: Callable[[int], Child],
    *,
    port: int,
    any_port: bool,
    ready: Callable[[Child, int], bool],
    seconds: float,
) -> tuple[Child, int]:
    """Start a server on `port` and wait until it is ready; return the child and its port.

    With `any_port` another free port is used when `port` is 0 or taken. `start` starts the server on a port, `ready`
    returns whether it serves there.

    Raises PortTakenError when no port is free, ServerExitedError when the server ends, and EmbeddedStackError when it
    is not ready after `seconds`; in each case no process is left running.
    """
    for attempt in range(PORT_ATTEMPTS if any_port else 1):
        candidate = port if port and attempt == 0 else free_port()
        if not port_is_free(candidate):
            continue
        child = start(candidate)
        try:
            child.wait_until_ready(functools.partial(ready, child, candidate), seconds=seconds)
        except ServerExitedError:
            # If the port is still free, the server failed for another reason. Otherwise another process took the port.
            if port_is_free(candidate):
                raise
        except BaseException:
            child.stop()
            raise
        else:
            return child, candidate
    raise PortTakenError(
        f"found no free port of {LOOPBACK} in {PORT_ATTEMPTS} attempts"
        if any_port
        else f"port {port} of {LOOPBACK} is taken by another process"
    )
