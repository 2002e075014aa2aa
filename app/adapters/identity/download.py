"""A small file over HTTP, within bounds that hold whatever the other side does.

The timeout of a socket bounds each read and not all of them: an answer that comes byte by byte never ends.
"""

import asyncio
import contextlib
import http.client
import socket
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from http.client import HTTPResponse
from typing import Any
from urllib.error import HTTPError


async def download(url: str, *, seconds: float, max_bytes: int) -> bytes:
    """What is at the URL, by the proxy that the environment names, if any. Redirects are not followed.

    Raises OSError or http.client.HTTPException where there is no answer, TimeoutError among them where it is not there
    in time; ValueError where it is longer than that.
    """
    attempt = _Attempt(url, seconds, max_bytes)
    answer: Future[bytes] = Future()
    # From now on only the thread may end it, so that it never ends what somebody else has cancelled.
    answer.set_running_or_notify_cancel()

    def run() -> None:
        try:
            answer.set_result(attempt.run())
        except BaseException as error:  # noqa: BLE001 - whoever waits has to hear of it
            answer.set_exception(error)

    # A daemon: neither the loop nor the process waits for it at the end, as both do for the threads of the loop's pool.
    threading.Thread(target=run, name="download", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(answer)
    except TimeoutError:
        raise TimeoutError(f"there was no whole answer within {seconds:g} s") from None
    finally:
        attempt.abandon()


class _Attempt:
    def __init__(self, url: str, seconds: float, max_bytes: int) -> None:
        self._url = url
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._sockets: list[socket.socket] = []
        self._is_abandoned = False

    def run(self) -> bytes:
        """Wait for the answer, in a thread."""
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            _Handler(self._note),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            opener.add_handler(handler)
        try:
            with opener.open(self._url, timeout=self._seconds) as response:
                content: bytes = response.read(self._max_bytes + 1)
        except HTTPError as error:
            error.close()
            raise
        if len(content) > self._max_bytes:
            raise ValueError(f"the answer is longer than {self._max_bytes:,} bytes")
        return content

    def abandon(self) -> None:
        """Hang up, so that the thread ends wherever it is."""
        self._is_abandoned = True
        for each in self._sockets:
            # Usually the thread has closed it.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _note(self, connected: socket.socket) -> None:
        self._sockets.append(connected)
        if self._is_abandoned:
            self.abandon()


class _Connection(http.client.HTTPConnection):
    """Says which socket it has got."""

    def __init__(self, *args: Any, note: Callable[[socket.socket], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._note = note

    def connect(self) -> None:
        """Connect."""
        super().connect()
        self._note(self.sock)


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    """As above, with TLS: the certificate and the name are checked."""


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens both kinds of URL with connections that say which socket they have got."""

    def __init__(self, note: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._note = note

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        """As `HTTPHandler` does."""
        return self.do_open(partial(_Connection, note=self._note), req)

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        """As `HTTPSHandler` does."""
        return self.do_open(partial(_SecureConnection, note=self._note), req)
