"""The listening socket of the HTTP API."""

import socket

from app.entrypoints.listening import listen


def test_connections_send_small_segments_at_once() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
