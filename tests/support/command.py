"""The command line as processes: `allocation run` and its like, against servers of the test's choice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from pydantic import SecretStr

from app.cli import main
from app.settings import Settings

ALLOCATION = Path(sys.executable).with_name("allocation")
START_SECONDS = 90.0
STOP_SECONDS = 60.0
RUN_SECONDS = 90.0

COMMANDS = [
    [],
    ["dev"],
    ["run"],
    ["serve"],
    ["consume"],
    ["relay"],
    ["notify"],
    ["migrate"],
    ["doctor"],
    ["watch"],
    ["dead-letters"],
    ["dead-letters", "list"],
    ["dead-letters", "show"],
    ["dead-letters", "retry"],
    ["dead-letters", "discard"],
    ["reconcile"],
    ["api-keys"],
    ["api-keys", "new"],
    ["import"],
    ["openapi"],
    ["asyncapi"],
    ["completion"],
    ["man"],
]


def environment(settings: Settings | None = None, **more: str) -> dict[str, str]:
    """The environment of a process: nothing of ALLOCATION_ but these settings and the number of cells of the tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ALLOCATION_") or name == "ALLOCATION_CELLS"
    }
    given = {} if settings is None else settings.model_dump(exclude_none=True)
    return kept | {f"ALLOCATION_{name.upper()}": _text(value) for name, value in {**given, **more}.items()}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(value) if isinstance(value, list) else str(value)


class Command:
    """A process of the command line that runs until it is stopped."""

    def __init__(self, *arguments: str, env: Mapping[str, str], log: Path, program: Path = ALLOCATION) -> None:
        """Start it, in a session of its own as a terminal gives it; its output goes to the log."""
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [program, *arguments],
                env=dict(env),
                # Away from any file `.env`.
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text()

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal its process group, as a terminal does, and return the exit status."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not stop:\n{self.output}") from None

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, as long as the process runs."""
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)  # poll

    def wait_until_ready(self, url: str) -> None:
        """Wait until /readyz says so."""
        with httpx.Client(base_url=url, timeout=5, trust_env=False) as client:

            def ready() -> bool:
                try:
                    return client.get("/readyz").status_code == 200
                except httpx.TransportError:
                    return False

            self.wait_for(ready)


@contextmanager
def running(*arguments: str, env: Mapping[str, str], log: Path) -> Iterator[Command]:
    """Run a command while the block runs, and end it in any case."""
    command = Command(*arguments, env=env, log=log)
    try:
        yield command
    finally:
        if command.process.poll() is None:
            command.stop()


def run_command(
    arguments: Sequence[str], env: Mapping[str, str], cwd: Path, *, seconds: float = RUN_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [ALLOCATION, *arguments],
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def assert_one_clear_line(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """It ended with that status and said why in one line on standard error, which has all of the words."""
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.endswith("\n")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def status_of(arguments: Sequence[str]) -> int:
    """Run the command line in this process. Returns its exit status."""
    try:
        main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
