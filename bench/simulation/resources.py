"""What takes time: processors, a process that uses one of them at a time, the log of PostgreSQL, and row locks."""

import heapq
import random
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

import simpy

Steps = Generator[simpy.Event, Any, None]
"""A part of a simulated process: it yields what it waits for."""

SLICE = 0.002
"""Seconds after which the kernel gives a processor to the next process that waits."""


MOMENT = 1e-9
"""Seconds by which equal times may differ, as sums of floats."""


class Cores:
    """Processors that serve in the order of the calls.

    `contention` is the share by which a processor is slower while all others are busy too. `wake` is what it costs, in
    seconds, to wake up a process on a processor that has nothing to do.
    """

    def __init__(self, env: simpy.Environment, count: int, contention: float = 0.0, wake: float = 0.0) -> None:
        self.env = env
        self.busy = 0.0
        self._contention = contention
        self._wake = wake
        self._free_at = [0.0] * count

    @property
    def count(self) -> int:
        """The number of processors."""
        return len(self._free_at)

    def reserve(self, seconds: float, *, wakes: bool = False) -> tuple[float, float]:
        """Give the next free processor this work; returns how long it takes, and the time at which it will be done.

        `wakes` says that the process whose work it is has slept.
        """
        free_at = heapq.heappop(self._free_at)
        if wakes and free_at < self.env.now - MOMENT:
            seconds += self._wake
        start = max(self.env.now, free_at)
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

    def use(self, seconds: float, *, wakes: bool = True) -> Generator[simpy.Event, Any, float]:
        """Work for this time, in slices between which others may work; returns the processor time that it took."""
        used = 0.0
        while seconds > 0:
            took, done = self.reserve(min(seconds, SLICE), wakes=wakes)
            yield self.env.timeout(done - self.env.now)
            seconds -= SLICE
            used += took
            wakes = False
        return used


class Process:
    """A process of one thread: it uses at most one of the processors, in the order of the calls."""

    def __init__(self, cores: Cores) -> None:
        self.used = 0.0
        self._cores = cores
        self._ended = -1.0
        # With a processor of its own, the order of the calls is that of the processor.
        self._thread = simpy.Resource(cores.env, 1) if cores.count > 1 else None

    def use(self, seconds: float) -> Steps:
        """Work for this time."""
        if self._thread is None:
            yield from self._work(seconds)
            return
        with self._thread.request() as turn:
            yield turn
            yield from self._work(seconds)

    def _work(self, seconds: float) -> Steps:
        slept = self._cores.env.now > self._ended + MOMENT
        self.used += yield from self._cores.use(seconds, wakes=slept)
        self._ended = self._cores.env.now


class Log:
    """The log (WAL) of one PostgreSQL: a flush serves all commits that wait when it begins."""

    def __init__(
        self, env: simpy.Environment, sync: float, bytes_per_second: float, spread: Sequence[float] = (1.0,)
    ) -> None:
        """`sync` is the mean time of a flush without data, in seconds; each flush takes a multiple in `spread`."""
        self.written = 0.0
        self._random = random.Random(1)
        self._spread = spread
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
            yield self._env.timeout(self._sync * self._random.choice(self._spread) + size / self._speed)


class Locks:
    """The row locks of products, granted in the order of the calls.

    A commit leaves a new version of the row. It wakes up all sessions that wait: one of them gets the row, and the
    others wait for the new version, which takes each of them `requeue` seconds of processor time.
    """

    def __init__(self, env: simpy.Environment, requeue: float = 0.0) -> None:
        self._env = env
        self._requeue = requeue
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

    def release(self, sku: int, cores: Cores) -> None:
        """Give the row to the next transaction that waits; the processors are those of the PostgreSQL with the row."""
        waiting = self._held[sku]
        if not waiting:
            del self._held[sku]
            return
        for _ in waiting:
            cores.reserve(self._requeue)
        waiting.popleft().succeed()
