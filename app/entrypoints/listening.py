"""Listening sockets. Without an import of FastAPI, which processes without HTTP do not need."""

import socket

BACKLOG = 2048


class AddressInUseError(Exception):
    """The address to listen on is in use or not an address of this machine."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises AddressInUseError."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
    except OSError as error:
        message = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise AddressInUseError(message) from error


def url_of(listener: socket.socket) -> str:
    """The URL of the socket on this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
