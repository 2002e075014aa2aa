"""The limit of callers that wait for events: open streams, and requests with `wait`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.entrypoints.http.problems import ProblemError
from app.observability import metrics


class Streams:
    """Counts the callers that wait, and ends their waiting when the service stops."""

    def __init__(self, limit: int, wake: Callable[[], None]) -> None:
        """`wake` ends the waiting of all callers, which then read `is_ending`."""
        self._limit = limit
        self._wake = wake
        self.open = 0
        metrics.feed_streams.set(0)
        self.is_ending = False

    def check(self) -> None:
        """Raise ProblemError if too many callers wait, or the service is stopping."""
        if self.is_ending:
            raise ProblemError("unavailable", "the service is stopping")
        if self.open >= self._limit:
            raise ProblemError("overloaded", f"at most {self._limit} callers can wait for events; try again later")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count a caller during the block. Raises ProblemError as `check` does."""
        self.check()
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def end(self) -> None:
        """End all streams and waiting requests, and accept no further one."""
        self.is_ending = True
        self._wake()

    def _count(self, change: int) -> None:
        self.open += change
        metrics.feed_streams.set(self.open)
