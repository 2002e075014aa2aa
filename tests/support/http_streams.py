"""Byte streams of HTTP requests, good and bad, and a strict reference parser that says what a server may see in them.

The reference is h11, which shares no code with llhttp. The service may refuse a request that the reference sees; it
must not see one that the reference does not.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import h11

HEAD = b"POST /first HTTP/1.1\r\nHost: a\r\n"
SMUGGLED = b"GET /hid HTTP/1.1\r\nHost: a\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AA\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(SMUGGLED)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)


@dataclass(frozen=True)
class Seen:
    """A request as a server sees it. `complete`: all of its body has arrived."""

    method: bytes
    target: bytes
    body: bytes
    complete: bool


def allowed(stream: bytes) -> list[Seen]:
    """What a server may see in the bytes, by the reference. Where it meets an error, nothing behind that."""
    return list(_read(stream))


def _read(stream: bytes) -> Iterator[Seen]:
    while True:
        connection = h11.Connection(h11.SERVER)
        # The reference does not skip empty lines between two requests (RFC 9112, 2.2).
        connection.receive_data(stream.lstrip(b"\r\n"))
        try:
            request = connection.next_event()
        except h11.RemoteProtocolError:
            return
        if not isinstance(request, h11.Request):
            return
        body, complete = _body(connection)
        yield Seen(request.method, request.target, body, complete)
        if not complete or connection.their_state is h11.MUST_CLOSE:
            return
        stream = connection.trailing_data[0]


def _body(connection: h11.Connection) -> tuple[bytes, bool]:
    body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return body, False
        match event:
            case h11.Data(data=data):
                body += bytes(data)
            case h11.EndOfMessage():
                return body, True
            case _:
                return body, False


CORE = {
    "an offer of h2c with a length": HEAD + H2C + LENGTH + b"\r\n" + SMUGGLED + NEXT,
    "an offer of h2c in chunks": HEAD + H2C + CHUNKED + b"\r\n" + CHUNKS + NEXT,
    "an offer of h2c without a body": HEAD + H2C + b"\r\n" + NEXT,
    "an offer of a websocket": HEAD + WEBSOCKET + LENGTH + b"\r\n" + SMUGGLED + NEXT,
    "two offers": (HEAD + H2C + LENGTH + b"\r\n" + SMUGGLED) * 2 + NEXT,
    "an offer that waits for 100 Continue": HEAD + H2C + LENGTH + b"Expect: 100-continue\r\n\r\n" + SMUGGLED + NEXT,
    "an offer in HTTP/1.0": HEAD.replace(b"1.1", b"1.0") + H2C + LENGTH + b"\r\n" + SMUGGLED + NEXT,
    "an offer in trailers": HEAD + CHUNKED + b"\r\n0\r\n" + H2C + b"\r\n" + NEXT,
    "CONNECT": b"CONNECT service:80 HTTP/1.1\r\nHost: service\r\n" + LENGTH + b"\r\n" + SMUGGLED,
    "HTTP/1.0 that stays": HEAD.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n\r\n" + NEXT,
    "the last request": HEAD + b"Connection: close\r\n" + LENGTH + b"\r\n" + SMUGGLED + NEXT,
    "both lengths": HEAD + LENGTH + CHUNKED + b"\r\n" + CHUNKS + NEXT,
    "both lengths, the other way round": HEAD + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": HEAD + b"Content-Length: 0\r\n" + LENGTH + b"\r\n" + SMUGGLED,
    "a list of lengths": HEAD + b"Content-Length: 0, 5\r\n\r\n" + SMUGGLED,
    "a signed length": HEAD + b"Content-Length: +0\r\n\r\n" + SMUGGLED,
    "another transfer coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS + NEXT,
    "chunked twice": HEAD + CHUNKED + CHUNKED + b"\r\n" + CHUNKS + NEXT,
    "chunked in HTTP/1.0": HEAD.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n" + CHUNKS + NEXT,
    "a folded header": HEAD + b"X-Folded: a\r\n Content-Length: 5\r\n\r\n" + SMUGGLED,
    "a bare line feed": HEAD + b"X-Bare: a\nContent-Length: 5\r\n\r\n" + SMUGGLED,
    "a blank before the colon": HEAD + b"Content-Length : 5\r\n\r\n" + SMUGGLED,
    "extensions of chunks": HEAD + CHUNKED + b"\r\n2;a=b\r\nok\r\n0;c\r\n\r\n" + NEXT,
    "a line feed in an extension": HEAD + CHUNKED + b"\r\n2;a\nok\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk that is too long": HEAD + CHUNKED + b"\r\n2\r\nokGET\r\n0\r\n\r\n" + SMUGGLED,
    "trailers": HEAD + CHUNKED + b"\r\n2\r\nok\r\n0\r\nX-Behind: 1\r\n\r\n" + NEXT,
    "a length in trailers": HEAD + CHUNKED + b"\r\n0\r\nContent-Length: 42\r\n\r\n" + SMUGGLED,
    "refused before its body": HEAD.replace(b"/first", b"/early") + LENGTH + b"\r\n" + SMUGGLED + NEXT,
    "refused for good before its body": HEAD.replace(b"/first", b"/last") + LENGTH + b"\r\n" + SMUGGLED + NEXT,
    "too many headers": HEAD + b"X: 1\r\n" * 32 + LENGTH + b"\r\n" + SMUGGLED,
    "too many at once": NEXT * 20 + HEAD + LENGTH + b"\r\n" + SMUGGLED,
    "another version": HEAD.replace(b"1.1", b"2.0") + LENGTH + b"\r\n" + SMUGGLED,
    "no version": b"POST /first\r\n" + LENGTH + b"\r\n" + SMUGGLED,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED,
    "a body that does not end": HEAD + b"Content-Length: 5000\r\n\r\n" + SMUGGLED,
}
"""Streams that have misled parsers, by what is special about them."""

_METHODS = (b"GET", b"POST", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS", b"CONNECT")
_FRAMINGS = (LENGTH, CHUNKED, b"", LENGTH + CHUNKED, b"Content-Length: 0\r\n", b"transfer-encoding:\tCHUNKED \r\n")
_EXTRAS = (
    H2C,
    WEBSOCKET,
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\n",
    b"Connection: upgrade\r\n",
    b"X-Folded: a\r\n b\r\n",
    b"X-Empty:\r\n",
    b"Content-Type: application/json\r\n",
)
_PIECES = (b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"\0", b"0", b"\r\n\r\n", b"Upgrade", b"chunked", SMUGGLED)


def random_stream(choose: random.Random) -> bytes:
    """Some requests one behind another; about half of the streams are damaged somewhere."""
    stream = b"".join(_message(choose) for _ in range(choose.randint(1, 3)))
    if choose.random() < 0.5:
        at = choose.randrange(len(stream))
        stream = stream[:at] + choose.choice((b"", *_PIECES)) + stream[at + choose.randint(0, 2) :]
    return stream


def random_segments(choose: random.Random, stream: bytes) -> list[bytes]:
    """The bytes in some pieces."""
    cuts = sorted(choose.sample(range(1, len(stream)), min(choose.randint(0, 5), len(stream) - 1)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def _message(choose: random.Random) -> bytes:
    target = choose.choice((b"/a", b"/b?c=d", b"/early", b"/last", b"http://service/e", b"*", b"service:80"))
    version = choose.choice((b"1.1", b"1.1", b"1.1", b"1.0"))
    framing = choose.choice(_FRAMINGS)
    headers = [b"Host: service\r\n", framing, *choose.sample(_EXTRAS, choose.randint(0, 2))]
    choose.shuffle(headers)
    body = b""
    if b"chunked" in framing.lower():
        body = b"%x%b\r\n%b\r\n0\r\n" % (len(SMUGGLED), choose.choice((b"", b";a=b", b";a")), SMUGGLED)
        body += choose.choice((b"", b"X-Behind: 1\r\n", H2C)) + b"\r\n"
    elif framing == LENGTH:
        body = SMUGGLED
    return b"%b %b HTTP/%b\r\n%b\r\n%b" % (choose.choice(_METHODS), target, version, b"".join(headers), body)
