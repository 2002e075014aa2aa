"""The user of a PostgreSQL server, the lock of its directory, and the content of its `postmaster.pid`."""

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

# Without the caller's environment: PGOPTIONS, PGHOST and other variables would change what the programs do.
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


def lock_directory(file: Path) -> IO[str]:
    """Lock a data directory for this process; closing the returned file unlocks it.

    The kernel releases the lock of a killed process. Raises EmbeddedStackError if another process keeps the lock.
    """
    import fcntl  # Absent on Windows, where this module is imported only to report that there is no wheel.

    lock = file.open("a", encoding="ascii")

    def taken() -> bool:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    # A previous process may be shutting down.
    if not poll_until(taken, seconds=LOCK_SECONDS):
        lock.close()
        raise EmbeddedStackError(f"another process uses this directory: it has locked {file}")
    return lock


def hand_over_when_root(directory: Path) -> None:
    """If this process is root, give `directory` to an unprivileged user: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return
    import pwd  # Absent on Windows.

    try:
        user = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        raise EmbeddedStackUnavailable(
            f"PostgreSQL refuses to run as root, and the user `{UNPRIVILEGED_USER}` does not exist"
        ) from None
    os.chown(directory, user.pw_uid, user.pw_gid)


def run_as(data_dir: Path, bin_dir: Path) -> tuple[str, ...]:
    """Return the command prefix with which PostgreSQL's programs can use `data_dir`: empty unless this process is root.

    As root they run as the owner of `data_dir`, with the capability to pass directories that are closed to that user (a
    virtual environment under /root, for example), so that no permissions have to be changed. Raises
    EmbeddedStackUnavailable if that is impossible, and EmbeddedStackError if the owner is wrong.
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
            "PostgreSQL refuses to run as root, and `setpriv` of util-linux is missing, which changes the user"
            " (a plain user does not need it)"
        )
    prefix = (
        setpriv,
        f"--reuid={uid}",
        f"--regid={gid}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        # Without this bit access(2), with which PostgreSQL checks its own programs, ignores the capability.
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
        message = attempt.stderr.strip().splitlines() or ["no message"]
        raise EmbeddedStackUnavailable(
            f"PostgreSQL refuses to run as root, and changing the user failed ({message[-1]}); use a plain user"
        )
    return prefix


def is_ready(data_dir: Path, pid: int) -> bool:
    """Whether the postmaster `pid` on `data_dir` accepts connections, according to its `postmaster.pid`."""
    lines = _pid_file(data_dir)
    status_line = 7
    return len(lines) > status_line and lines[0] == str(pid) and lines[status_line].strip() == "ready"


def stop_leftover(data_dir: Path) -> None:
    """Stop the postmaster that an earlier run left on `data_dir`, if there is one.

    The caller has locked the directory, so no other process uses that server. Raises EmbeddedStackError if it does not
    end.
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
    """Whether `pid` is running and was started on `data_dir`; the kernel may have reused the number."""
    try:
        # A zombie process has an empty command line.
        command_line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        if Path("/proc/self").exists():
            return False
        listing = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
        return os.fsencode(data_dir) in listing.stdout
    return os.fsencode(data_dir) in command_line
