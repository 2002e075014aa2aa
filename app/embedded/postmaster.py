"""Whom a PostgreSQL server runs as, who may use its directory, and what its `postmaster.pid` tells."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO

from app.embedded.errors import EmbeddedStackError, EmbeddedStackUnavailable
from app.embedded.process import poll_until

UNPRIVILEGED_USER = "nobody"
LOCK_SECONDS = 5.0
LEFTOVER_STEPS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

# Nothing of the caller's environment: PGOPTIONS, PGHOST and the like would change what the programs do.
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


def lock_directory(file: Path) -> IO[str]:
    """Take the lock that one service at a time holds on a data directory; closing the returned file gives it back.

    The kernel frees the lock of a process that is killed, so it can never be left over. Raises EmbeddedStackError when
    another process keeps it.
    """
    import fcntl  # This module is imported on Windows too, only to say that there is no wheel.

    lock = file.open("a", encoding="ascii")

    def taken() -> bool:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    # A predecessor that is just shutting down holds it for a moment more.
    if not poll_until(taken, seconds=LOCK_SECONDS):
        lock.close()
        raise EmbeddedStackError(f"another process runs on this directory: it holds {file}")
    return lock


def hand_over_when_root(directory: Path) -> None:
    """Give `directory` to the unprivileged user when we are root, since PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return
    import pwd  # As above: absent on Windows.

    try:
        user = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        raise EmbeddedStackUnavailable(
            f"PostgreSQL refuses to run as root and there is no user `{UNPRIVILEGED_USER}` to run it as"
        ) from None
    os.chown(directory, user.pw_uid, user.pw_gid)


def run_as(data_dir: Path, bin_dir: Path) -> tuple[str, ...]:
    """Return the command prefix under which PostgreSQL's programs may use `data_dir`: empty unless we are root.

    As root they run as the owner of `data_dir`, with the one capability to pass through directories that are closed to
    that user (the home of a service, a virtual environment under /root), so that no permission has to be changed.
    Raises EmbeddedStackUnavailable where that cannot be done and EmbeddedStackError where the owner is wrong.
    """
    owner = data_dir.stat()
    if os.geteuid() != 0:
        if owner.st_uid != os.geteuid():
            raise EmbeddedStackError(f"{data_dir} belongs to another user: choose another directory")
        return ()
    if owner.st_uid == 0:
        raise EmbeddedStackError(f"{data_dir} belongs to root, and PostgreSQL refuses to run as root")
    return _run_as(owner.st_uid, owner.st_gid, bin_dir)


@functools.cache
def _run_as(uid: int, gid: int, bin_dir: Path) -> tuple[str, ...]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedStackUnavailable(
            "PostgreSQL refuses to run as root and `setpriv` of util-linux is not there to change the user"
            " (a plain user needs none)"
        )
    prefix = (
        setpriv,
        f"--reuid={uid}",
        f"--regid={gid}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        # Without this bit access(2), by which PostgreSQL checks its own programs, ignores the capability.
        "--securebits=+no_setuid_fixup",
    )
    attempt = subprocess.run(
        [*prefix, bin_dir / "postgres", "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        env=ENVIRONMENT,
    )
    if attempt.returncode != 0:
        said = attempt.stderr.strip().splitlines() or ["no message"]
        raise EmbeddedStackUnavailable(
            f"PostgreSQL refuses to run as root and changing the user failed ({said[-1]}; a plain user need not)"
        )
    return prefix


def is_ready(data_dir: Path, pid: int) -> bool:
    """Tell whether the postmaster `pid` on `data_dir` accepts connections, by the status in its `postmaster.pid`."""
    lines = _pid_file(data_dir)
    status_line = 7
    return len(lines) > status_line and lines[0] == str(pid) and lines[status_line].strip() == "ready"


def stop_leftover(data_dir: Path) -> None:
    """Stop the postmaster that an earlier run left on `data_dir`, if there is one.

    The caller holds the lock of the directory, so nobody alive uses that server. Raises EmbeddedStackError if it stays.
    """
    lines = _pid_file(data_dir)
    if not lines or not lines[0].isdigit():
        return
    pid = int(lines[0])
    for step, seconds in LEFTOVER_STEPS:
        if not _is_postmaster_of(pid, data_dir):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, step)
        if poll_until(lambda: not _is_postmaster_of(pid, data_dir), seconds=seconds):
            return
    raise EmbeddedStackError(f"the PostgreSQL server {pid} of an earlier run on {data_dir} does not end")


def _pid_file(data_dir: Path) -> list[str]:
    try:
        return (data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_postmaster_of(pid: int, data_dir: Path) -> bool:
    """Tell whether `pid` is alive and was started on `data_dir`; the number may be some other process's by now."""
    try:
        # A process that has ended but was not waited for shows an empty command line here.
        command_line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        if Path("/proc/self").exists():
            return False
        listing = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
        return os.fsencode(data_dir) in listing.stdout
    return os.fsencode(data_dir) in command_line
