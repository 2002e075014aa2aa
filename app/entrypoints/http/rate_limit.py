"""The rate limit of each principal, with the headers of draft-ietf-httpapi-ratelimit-headers."""

import math
import time
from collections.abc import Callable

from app.entrypoints.http.problems import ProblemError

POLICY = "default"
# Up to this number of principals, expired entries are not removed.
FEW = 10_000


class RateLimit:
    """Each principal has `quota` requests, which are restored evenly over `window` seconds.

    For each principal only the time at which its quota is full again is stored (the theoretical arrival time of GCRA),
    so principals without a request for one window need no entry. Each process counts separately.
    """

    def __init__(self, quota: int, window: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._quota = quota
        self._window = window
        self._clock = clock
        self._interval = window / quota
        self._full_again: dict[str | None, float] = {}
        self._prune_at = FEW
        self._policy = (b"ratelimit-policy", f'"{POLICY}";q={quota};w={window}'.encode())

    def take(self, principal: str | None, headers: list[tuple[bytes, bytes]]) -> None:
        """Take one request from the principal's quota, and add the headers. Raises ProblemError if it is used up."""
        now = self._clock()
        full_again = max(self._full_again.get(principal, now), now) + self._interval
        # The quotient is a number of requests; the small addition compensates for rounding of floats.
        left = math.floor((self._window - (full_again - now)) / self._interval + 1e-6)
        allowed = left >= 0
        if allowed:
            self._full_again[principal] = full_again
            if len(self._full_again) > self._prune_at:
                self._prune(now)
        else:
            full_again -= self._interval
        headers += (
            self._policy,
            (b"ratelimit", f'"{POLICY}";r={max(left, 0)};t={math.ceil(full_again - now)}'.encode()),
        )
        if not allowed:
            wait = math.ceil(full_again + self._interval - now - self._window)
            detail = f"the limit is {self._quota} requests in {self._window} seconds; try again in {max(wait, 1)} s"
            raise ProblemError("too-many-requests", detail, headers={"Retry-After": str(max(wait, 1))})

    def _prune(self, now: float) -> None:
        self._full_again = {principal: at for principal, at in self._full_again.items() if at > now}
        self._prune_at = max(FEW, 2 * len(self._full_again))
