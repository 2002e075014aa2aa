"""The kernel kills processes of the service because their control group has no memory left."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.embedded.process import poll_until
from faults.rounds import Fault, LeftOutError, Round
from faults.scenarios.processes import ROLES, replace_each
from faults.servers import Servers
from faults.stack import PLAIN_ENTRY, Instance

FIRST = Path("/sys/fs/cgroup/memory")
SECOND = Path("/sys/fs/cgroup")
UNLIMITED = {"memory.limit_in_bytes": "-1", "memory.max": "max"}
END_SECONDS = 10.0

# The share of the process that is killed is larger, so the kernel chooses that one.
BALLAST = 32 << 20
FILL = f"memory = bytearray({BALLAST})\nfor page in range(0, len(memory), 4096): memory[page] = 1"
JOIN = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


@dataclass(frozen=True)
class Groups:
    """The control groups of a round, and the names of the kernel's files: version 1 or 2."""

    folder: Path
    limit: str
    usage: str
    events: str

    def of(self, instance: Instance) -> Path:
        """The group of the processes of this slot. It is made when it is needed."""
        group = self.folder / str(instance)
        group.mkdir(exist_ok=True)
        return group

    def exhaust(self, instance: Instance) -> bool:
        """Let the memory of the group run out until the kernel has killed a process; returns whether it has."""
        group = self.of(instance)
        before = self.kills(group)
        (group / self.limit).write_text((group / self.usage).read_text())
        try:
            subprocess.run(_in_group(group, sys.executable, "-c", FILL), check=False, timeout=END_SECONDS)
            return poll_until(lambda: self.kills(group) > before, seconds=END_SECONDS)
        finally:
            (group / self.limit).write_text(UNLIMITED[self.limit])

    def kills(self, group: Path) -> int:
        """The number of processes that the kernel has killed there."""
        pairs = (line.split() for line in (group / self.events).read_text().splitlines())
        return next(int(pair[1]) for pair in pairs if pair[0] == "oom_kill")


@contextmanager
def control_groups(_: Servers, home: Path) -> Iterator[None]:
    """Require control groups with a limit of memory. Raises LeftOutError."""
    groups = _groups(home)
    try:
        groups.folder.mkdir()
    except OSError as error:
        raise LeftOutError(f"it takes a control group with a limit of memory, as root: {error}") from error
    try:
        if SECOND in groups.folder.parents and FIRST not in groups.folder.parents:
            with suppress(OSError):
                (groups.folder / "cgroup.subtree_control").write_text("+memory")
        probe = groups.folder / "probe"
        probe.mkdir()
        has_limit = (probe / groups.limit).exists()
        probe.rmdir()
        if not has_limit:
            raise LeftOutError(f"the control groups of this machine have no {groups.limit}")
        yield
    finally:
        for group in [*groups.folder.iterdir(), groups.folder]:
            if group.is_dir():
                poll_until(functools.partial(_is_removed, group), seconds=END_SECONDS)


def out_of_memory(this: Round) -> None:
    """The kernel kills one process of each role: as `kill -9`, another takes over within the lease plus two seconds."""
    groups = _groups(this.home)
    this.stack.expect_status(-signal.SIGKILL)

    def end(victim: Instance) -> int:
        pid = victim.pid or 0
        this.check(groups.exhaust(victim), f"the kernel did not kill {victim}")
        return pid

    replace_each(this, [role for role in ROLES for _ in range(this.plan.of(3, 1))], end, "killed by the kernel")


def _groups(home: Path) -> Groups:
    name = f"allocation-{os.getpid()}-{home.name}"
    if (FIRST / "memory.limit_in_bytes").exists():
        return Groups(FIRST / name, "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control")
    return Groups(SECOND / name, "memory.max", "memory.current", "memory.events")


def _in_group(group: Path, *command: str) -> list[str]:
    return ["sh", "-c", JOIN, str(group), *command]


def _entry(home: Path, instance: Instance) -> Sequence[str]:
    return _in_group(_groups(home).of(instance), *PLAIN_ENTRY)


def _is_removed(group: Path) -> bool:
    """Remove the group. It may have a process for a moment after that has ended."""
    try:
        group.rmdir()
    except OSError:
        return False
    return True


FAULTS: dict[str, Fault] = {
    "out-of-memory": Fault(out_of_memory, entry=_entry, around=control_groups, in_short=False),
}
