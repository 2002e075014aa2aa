"""How many bytes of request bodies the process may hold, over all connections."""

SMALL_BODY = 4096
"""In bytes. A body of this size may use all of the budget, a larger one three quarters of it."""


class BodyBudget:
    """Counts the bytes of bodies that are being received or handled.

    Without it, callers that send large bodies and stop before the end could fill the memory, because requests and
    connections are limited by their number. The last quarter is for small bodies, so that stalled bulk requests do not
    keep out the others.
    """

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes."""
        self.limit = limit
        self.held = 0
        self._limit_of_large = limit - limit // 4

    def take(self, size: int, body: int) -> bool:
        """Count `size` further bytes of a request of which `body` are held. False where they are too many."""
        held = self.held + size
        if held > (self.limit if body + size <= SMALL_BODY else self._limit_of_large):
            return False
        self.held = held
        return True

    def release(self, size: int) -> None:
        """The bytes are no longer held."""
        self.held -= size
