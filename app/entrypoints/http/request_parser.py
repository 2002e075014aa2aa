"""Parses the requests of a connection: httptools' parser, without the case in which it loses the end of a message.

A server has to find the end of each message, or a caller can hide a request in a body (request smuggling). httptools
fails to do so in one case: after a request that offers another protocol (`Upgrade`) it parses the next byte as the
start of a new request, although the body of the first one follows.

`RequestParser` has the interface of `httptools.HttpRequestParser` that uvicorn uses. A new parser reads a request with
an offer again, without the offer. CONNECT is an error. After an error no further data is parsed.

Source: https://www.rfc-editor.org/rfc/rfc9112 (6 and 9.6), https://www.rfc-editor.org/rfc/rfc9110#section-7.8
"""

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Protocol

import httptools


class RequestReceiver(Protocol):
    """The callbacks of uvicorn's protocol. `url` and `headers` are those of the request that is being parsed."""

    url: bytes
    headers: list[tuple[bytes, bytes]]

    def on_message_begin(self) -> None:
        """The first byte of a request has arrived."""

    def on_url(self, url: bytes) -> None:
        """A part of the request target has arrived."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or a trailer has arrived."""

    def on_headers_complete(self) -> None:
        """All headers have arrived."""

    def on_body(self, body: bytes) -> None:
        """A part of the body has arrived, without the framing of chunks."""

    def on_message_complete(self) -> None:
        """All of the request has arrived."""


class RequestParser:
    """Calls the receiver for each part of each request. An error that the receiver raises ends the parser."""

    def __init__(self, receiver: RequestReceiver) -> None:
        self._receiver = receiver
        # httptools looks these up once. Callbacks without additions call the receiver directly.
        self.on_url = receiver.on_url
        self.on_header = receiver.on_header
        self.on_body = receiver.on_body
        self._head_without_offer: bytes | None = None
        self._is_last = False
        self._ended = False
        self._start()

    def _start(self) -> None:
        self._parser = parser = httptools.HttpRequestParser(self)
        self.get_method = parser.get_method
        self.get_http_version = parser.get_http_version
        self.should_keep_alive = parser.should_keep_alive

    def should_upgrade(self) -> bool:
        """False: offers of other protocols are ignored, as RFC 9110, 7.8 allows."""
        return False

    def end(self) -> None:
        """Read no further request. The rest of the current one is still read."""
        self._is_last = True

    def feed_data(self, data: bytes) -> None:
        """Parse the next bytes of the connection; bytes after its last request are ignored.

        Raises httptools.HttpParserError; after that, data is ignored.
        """
        if self._ended:
            return
        try:
            while True:
                try:
                    self._parser.feed_data(data)
                except httptools.HttpParserUpgrade as offer:
                    data = self._withdraw_offer() + data[offer.args[0] :]
                else:
                    return
        except httptools.HttpParserError as error:
            self._ended = True
            if not isinstance(error.__context__, _NoFurtherRequestError):
                raise

    def on_message_begin(self) -> None:
        """Stop if the previous request was the last one (RFC 9112, 9.6)."""
        if self._ended:
            raise _NoFurtherRequestError
        self._receiver.on_message_begin()

    def on_headers_complete(self) -> None:
        """Report the request, unless it has to be read again without its offer of another protocol."""
        version = self.get_http_version()
        if version not in _VERSIONS:
            raise ValueError("the HTTP version must be 1.1 or 1.0")
        hosts = 0
        for name, value in self._receiver.headers:
            if name == b"host":
                hosts += 1
                if not _is_host(value):
                    raise ValueError("the Host header must have a host and an optional port")
            # Other transfer codings are not supported, and HTTP/1.0 has none (RFC 9112, 6.1).
            elif name == b"transfer-encoding" and (version == "1.0" or value.strip().lower() != b"chunked"):
                raise ValueError("the transfer coding must be chunked")
        if hosts != 1 and (hosts or version != "1.0"):
            raise ValueError("a request must have one Host header")
        if self._parser.should_upgrade():
            if self.get_method() == b"CONNECT":
                raise ValueError("this service is not a proxy")
            self._head_without_offer = self._head(version)
        else:
            self._receiver.on_headers_complete()
            self._is_last |= version == "1.0" or not self.should_keep_alive()

    def on_message_complete(self) -> None:
        """Report the end of the request."""
        if self._head_without_offer is None:
            self._ended = self._is_last
            self._receiver.on_message_complete()

    def _withdraw_offer(self) -> bytes:
        """The head to read again, with a new parser."""
        head = self._head_without_offer
        if head is None:
            raise httptools.HttpParserError("the parser stopped inside a request")
        self._head_without_offer = None
        self._start()
        return head

    def _head(self, version: str) -> bytes:
        """The head of the request without its Upgrade header."""
        receiver = self._receiver
        lines = [b"%b %b HTTP/%b" % (self.get_method(), receiver.url, version.encode())]
        lines += [b"%b: %b" % header for header in receiver.headers if header[0] != b"upgrade"]
        return b"\r\n".join((*lines, b"", b""))


@lru_cache(maxsize=64)
def _is_host(value: bytes) -> bool:
    """Whether this is a host with an optional port (RFC 3986, 3.2.2). In `http` URIs a host must not be empty."""
    found = _HOST.fullmatch(value)
    if found is None or int(found["port"] or 0) > _MAX_PORT:
        return False
    try:
        return found["ipv6"] is None or bool(IPv6Address(found["ipv6"].decode()))
    except ValueError:
        return False


class _NoFurtherRequestError(Exception):
    """Stops the parser after the last request."""


_VERSIONS = frozenset({"1.1", "1.0"})
_HOST = re.compile(
    rb"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::(?P<port>[0-9]{0,5}))?"
)
_MAX_PORT = 65_535
