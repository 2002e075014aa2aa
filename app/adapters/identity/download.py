"""Downloads a small file over HTTP, within limits of time and size.

A socket timeout bounds each read and not the whole download: a response that arrives byte by byte would never end.
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
    """The content of the URL, through the proxy of the environment if there is one. Redirects are not followed.

    Raises OSError or http.client.HTTPException if the request fails, TimeoutError (an OSError) after `seconds`, and
    ValueError if the content is longer than `max_bytes`.
    """
    attempt = _Attempt(url, seconds, max_bytes)
    answer: Future[bytes] = Future()
    # Makes the future uncancellable, so that the thread can always set its result.
    answer.set_running_or_notify_cancel()

    def run() -> None:
        try:
            answer.set_result(attempt.run())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            answer.set_exception(error)

    # A daemon thread: unlike threads of the loop's pool, it does not delay the end of the loop and the process.
    threading.Thread(target=run, name="download", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(answer)
    except TimeoutError:
        raise TimeoutError(f"there was no complete response within {seconds:g} s") from None
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
        """Download. Blocks, so it runs in a thread."""
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
            raise ValueError(f"the response is longer than {self._max_bytes:,} bytes")
        return content

    def abandon(self) -> None:
        """Shut down the sockets, which ends the thread."""
        self._is_abandoned = True
        for each in self._sockets:
            # The thread has usually closed it.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _note(self, connected: socket.socket) -> None:
        self._sockets.append(connected)
        if self._is_abandoned:
            self.abandon()


class _Connection(http.client.HTTPConnection):
    """Passes its socket to `note`."""

    def __init__(self, *args: Any, note: Callable[[socket.socket], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._note = note

    def connect(self) -> None:
        """Connect."""
        super().connect()
        self._note(self.sock)


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    """The same with TLS. The certificate and the host name are verified."""


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens http and https URLs with connections that pass their socket to `note`."""

    def __init__(self, note: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._note = note

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        """As `HTTPHandler` does."""
        return self.do_open(partial(_Connection, note=self._note), req)

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        """As `HTTPSHandler` does."""
        return self.do_open(partial(_SecureConnection, note=self._note), req)
