"""Helpers for the tests of the embedded servers: a parent process to kill, and a check that a process runs."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
DEADLINE_SECONDS = 60.0


def is_alive(pid: int) -> bool:
    """Whether `pid` runs. A zombie, which only waits to be reaped by init, does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def ended(pids: list[int]) -> bool:
    """Wait until none of `pids` is alive, for at most `DEADLINE_SECONDS`; return whether they ended."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)  # poll
    return True


def family(pid: int | None) -> list[int]:
    """Return `pid` and the ids of all processes below it."""
    assert pid is not None
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


@contextmanager
def service_process(script: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    """Run `script`, which starts a server and prints its pid and address, in a Python process that then waits.

    Yields that process, the pid and the address; kills the process at the end as `kill -9` does.
    """
    with subprocess.Popen(
        [sys.executable, "-c", f"{script}\nimport signal; signal.pause()", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        # From where `app` is imported when it is not installed.
        cwd=REPOSITORY,
    ) as service:
        try:
            assert service.stdout is not None
            pid, address = service.stdout.readline().split()
            yield service, int(pid), address
        finally:
            service.kill()
