"""Limits the memory that request bodies use, over all connections of the process."""

SMALL_BODY = 4096
"""In bytes. A body of this size may use all of the budget, a larger one three quarters of it."""


class BodyBudget:
    """Counts the bytes of bodies that are being received or handled.

    Requests and connections are limited by number only, so callers that send large bodies and stop before the end could
    fill the memory. The last quarter of the budget is for small bodies, so that stalled bulk requests do not block
    other requests.
    """

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes."""
        self.limit = limit
        self.held = 0
        self._limit_of_large = limit - limit // 4

    def take(self, size: int, body: int) -> bool:
        """Add `size` bytes of a request that already holds `body` bytes. Returns False if they exceed the budget."""
        held = self.held + size
        if held > (self.limit if body + size <= SMALL_BODY else self._limit_of_large):
            return False
        self.held = held
        return True

    def release(self, size: int) -> None:
        """Return the bytes to the budget."""
        self.held -= size
