"""Listening sockets. Without an import of FastAPI, which processes without HTTP do not need."""

import socket

BACKLOG = 2048


class AddressInUseError(Exception):
    """The address to listen on is in use or not an address of this machine."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises AddressInUseError."""
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
    except OSError as error:
        message = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise AddressInUseError(message) from error
    # Connections inherit it. asyncio does not set it on them, because the protocol of a socket of `create_server` is 0;
    # a small second part of a response would then wait for the acknowledgement of the first, up to 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL of the socket on this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
