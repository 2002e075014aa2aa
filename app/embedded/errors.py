"""The errors of the embedded stack. Each message is one line that says what to do."""

from __future__ import annotations


class EmbeddedStackError(RuntimeError):
    """A server of the embedded stack could not be started or used; the message has the server and the reason."""


class EmbeddedStackUnavailable(EmbeddedStackError):
    """The embedded stack cannot run here at all: no wheel for this platform, or no way to drop root."""

    def __init__(self, reason: str) -> None:
        """Append to `reason` (no full stop) what to do instead, so that every such message ends the same way."""
        super().__init__(
            f"{reason}; set ALLOCATION_DATABASE_URL and ALLOCATION_KAFKA_BOOTSTRAP_SERVERS to servers of your own"
            " and use `allocation run` instead of `allocation dev`"
        )


class PortTakenError(EmbeddedStackError):
    """The requested port is used by another process."""


class ServerExitedError(EmbeddedStackError):
    """A server ended before it was ready; the message has the end of its log."""
