"""The limits of the HTTP server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a process. `read_timeout` is in seconds, from the first byte of a request."""

    header_bytes: int = 32_768
    connections: int = 8192
    read_timeout: float = 10.0
    bodies_bytes: int = 67_108_864
    """The total size of the bodies that are being received or handled, over all connections."""
