"""What takes time: processors, a process that uses one of them at a time, the log of PostgreSQL, and row locks."""

import heapq
from collections import deque
from collections.abc import Generator
from typing import Any

import simpy

Steps = Generator[simpy.Event, Any, None]
"""A part of a simulated process: it yields what it waits for."""

SLICE = 0.002
"""Seconds after which the kernel gives a processor to the next process that waits."""


class Cores:
    """Processors that serve in the order of the calls.

    `contention` is the share by which a processor is slower while all others are busy too.
    """

    def __init__(self, env: simpy.Environment, count: int, contention: float = 0.0) -> None:
        self.env = env
        self.busy = 0.0
        self._contention = contention
        self._free_at = [0.0] * count

    @property
    def count(self) -> int:
        """The number of processors."""
        return len(self._free_at)

    def reserve(self, seconds: float) -> tuple[float, float]:
        """Give the next free processor this work; returns how long it takes, and the time at which it will be done."""
        start = max(self.env.now, heapq.heappop(self._free_at))
        if self._contention:
            # Both are slower while they overlap. The other one's part delays what comes next on its processor.
            for number, at in enumerate(self._free_at):
                delay = self._contention * min(max(at - start, 0.0), seconds) / len(self._free_at)
                self._free_at[number] += delay
                seconds += delay
            heapq.heapify(self._free_at)
        heapq.heappush(self._free_at, start + seconds)
        self.busy += seconds
        return seconds, start + seconds

    def use(self, seconds: float) -> Generator[simpy.Event, Any, float]:
        """Work for this time, in slices between which others may work; returns the processor time that it took."""
        used = 0.0
        while seconds > 0:
            took, done = self.reserve(min(seconds, SLICE))
            yield self.env.timeout(done - self.env.now)
            seconds -= SLICE
            used += took
        return used


class Process:
    """A process of one thread: it uses at most one of the processors, in the order of the calls."""

    def __init__(self, cores: Cores) -> None:
        self.used = 0.0
        self._cores = cores
        # With a processor of its own, the order of the calls is that of the processor.
        self._thread = simpy.Resource(cores.env, 1) if cores.count > 1 else None

    def use(self, seconds: float) -> Steps:
        """Work for this time."""
        if self._thread is None:
            self.used += yield from self._cores.use(seconds)
            return
        with self._thread.request() as turn:
            yield turn
            self.used += yield from self._cores.use(seconds)


class Log:
    """The log (WAL) of one PostgreSQL: a flush serves all commits that wait when it begins."""

    def __init__(self, env: simpy.Environment, sync: float, bytes_per_second: float) -> None:
        """`sync` is the time of a flush without data, in seconds."""
        self.written = 0.0
        self._env = env
        self._sync = sync
        self._speed = bytes_per_second
        self._device = simpy.Resource(env, 1)
        self._waiting = 0.0
        self._next: simpy.Process | None = None

    def flush(self, size: float) -> simpy.Process:
        """The event that this many bytes are on the disk."""
        self._waiting += size
        if self._next is None:
            self._next = self._env.process(self._flush())
        return self._next

    def _flush(self) -> Steps:
        with self._device.request() as turn:
            yield turn
            self._next, size, self._waiting = None, self._waiting, 0.0
            self.written += size
            yield self._env.timeout(self._sync + size / self._speed)


class Locks:
    """The row locks of products, granted in the order of the calls."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._held: dict[int, deque[simpy.Event]] = {}

    def lock_if_free(self, sku: int) -> bool:
        """Lock the row unless another transaction has it; as SKIP LOCKED."""
        if sku in self._held:
            return False
        self._held[sku] = deque()
        return True

    def lock(self, sku: int) -> Steps:
        """Wait for the row and lock it."""
        if not self.lock_if_free(sku):
            granted = self._env.event()
            self._held[sku].append(granted)
            yield granted

    def release(self, sku: int) -> None:
        """Give the row to the next transaction that waits."""
        waiting = self._held[sku]
        if waiting:
            waiting.popleft().succeed()
        else:
            del self._held[sku]
