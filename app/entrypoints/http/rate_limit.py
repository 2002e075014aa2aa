"""How often each principal may ask, told as draft-ietf-httpapi-ratelimit-headers has it."""

import math
import time
from collections.abc import Callable

from app.entrypoints.http.problems import ProblemError

POLICY = "default"
# Below this nobody looks for principals who have not called for a while.
FEW = 10_000


class RateLimit:
    """Each principal has `quota` requests that come back evenly over `window` seconds.

    Remembered is only when a principal will have all of its quota again (the theoretical arrival time of GCRA), so
    whoever has not called for a window need not be remembered at all. Each process counts for itself.
    """

    def __init__(self, quota: int, window: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._quota = quota
        self._window = window
        self._clock = clock
        self._interval = window / quota
        self._full_again: dict[str | None, float] = {}
        self._look_through_at = FEW
        self._policy = (b"ratelimit-policy", f'"{POLICY}";q={quota};w={window}'.encode())

    def take(self, principal: str | None, headers: list[tuple[bytes, bytes]]) -> None:
        """Take one request off the principal's quota, and tell of it in the headers. Raises ProblemError."""
        now = self._clock()
        full_again = max(self._full_again.get(principal, now), now) + self._interval
        # The quotient is a number of requests, and a hair beside a whole one is that whole one.
        left = math.floor((self._window - (full_again - now)) / self._interval + 1e-6)
        allowed = left >= 0
        if allowed:
            self._full_again[principal] = full_again
            if len(self._full_again) > self._look_through_at:
                self._forget(now)
        else:
            full_again -= self._interval
        headers += (
            self._policy,
            (b"ratelimit", f'"{POLICY}";r={max(left, 0)};t={math.ceil(full_again - now)}'.encode()),
        )
        if not allowed:
            wait = math.ceil(full_again + self._interval - now - self._window)
            detail = f"{self._quota} requests in {self._window} seconds are allowed; come again in {max(wait, 1)} s"
            raise ProblemError("too-many-requests", detail, headers={"Retry-After": str(max(wait, 1))})

    def _forget(self, now: float) -> None:
        self._full_again = {principal: at for principal, at in self._full_again.items() if at > now}
        self._look_through_at = max(FEW, 2 * len(self._full_again))
