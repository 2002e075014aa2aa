"""The service as a real process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 90.0
STOP_SECONDS = 60.0
CHECKOUT = (sys.executable, "-m", "app")


@dataclass(frozen=True)
class Dev:
    """A running `allocation dev`, and what it says of itself in dev.json."""

    process: subprocess.Popen[bytes]
    http_url: str
    database_url: str
    kafka_bootstrap_servers: str


@contextmanager
def running_dev(
    home: Path, *, port: int = 0, program: Sequence[str] = CHECKOUT, cwd: Path | None = None, **settings: str
) -> Iterator[Dev]:
    """Run `allocation dev`; the settings are environment variables without their prefix, in lower case."""
    environment = os.environ | {f"ALLOCATION_{name.upper()}": value for name, value in settings.items()}
    command = [*program, "dev", "--port", str(port), "--home", str(home)]
    log = home.parent / f"{home.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield Dev(process, **_wait_for(home / "dev.json", process, log))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _wait_for(file: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    deadline = time.monotonic() + START_SECONDS
    while not file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(log.read_text())
        time.sleep(0.02)  # poll
    content: dict[str, str] = json.loads(file.read_text())
    return content
