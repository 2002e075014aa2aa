"""Processor time of processes and their children, from /proc."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PARENT, _OWN, _OF_ENDED_CHILDREN = 1, slice(11, 13), slice(13, 15)
"""Fields of /proc/PID/stat behind the name of the program: the parent; user and system time, of itself and of children
that have ended."""


def processor_seconds(pid: int) -> float:
    """The processor time that the process and its children have used, in seconds."""
    processes = dict(_processes())
    ticks = sum(int(value) for value in processes[pid][_OF_ENDED_CHILDREN])
    family = [pid]
    for each in family:
        ticks += sum(int(value) for value in processes[each][_OWN])
        family += [child for child, fields in processes.items() if int(fields[_PARENT]) == each]
    return ticks / _TICKS


def children_of(pid: int) -> list[int]:
    """The processes that the process started and that have not ended."""
    return [child for child, fields in _processes() if int(fields[_PARENT]) == pid]


@contextmanager
def processor_time(**pids: int) -> Iterator[dict[str, float]]:
    """The processor time that each of the processes uses during the block, in seconds, known when it ends."""
    before = {name: processor_seconds(pid) for name, pid in pids.items()}
    used: dict[str, float] = {}
    yield used
    used |= {name: processor_seconds(pid) - before[name] for name, pid in pids.items()}


def _processes() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # It has just ended.
            # The name of the program is in parentheses and may contain spaces.
            yield int(entry.name), stat.rpartition(")")[2].split()
