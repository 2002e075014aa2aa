"""The answers of the protocol itself, to what does not reach the application: problems as bytes, rendered once."""

import json
from functools import cached_property
from http import HTTPStatus

from app.entrypoints.http.headers import protect
from app.entrypoints.http.problems import ProblemError, respond

MAX_TARGET_BYTES = 8192
MAX_PIPELINED = 16
"""So many requests may be sent behind one that has still to be answered. Hardly anybody sends any."""


class Refusal:
    """A problem as the bytes of an HTTP response, rendered once but for what differs between two requests."""

    def __init__(self, problem: ProblemError) -> None:
        self._problem = problem
        self.status = HTTPStatus(problem.kind.status)

    @cached_property
    def _parts(self) -> tuple[bytes, bytes, bytes]:
        """The head, and the body before and behind the instance. Not made before the first answer: settings count."""
        mark = "{instance}"
        response = respond(mark, self._problem)
        before, _, after = bytes(response.body).partition(json.dumps(mark).encode())
        pairs = [pair for pair in response.raw_headers if pair[0] != b"content-length"]
        protect(pairs)
        headers = b"".join(b"%b: %b\r\n" % pair for pair in pairs)
        return b"HTTP/1.1 %d %b\r\n%b" % (self.status, self.status.phrase.encode(), headers), before, after

    def render(self, instance: str, headers: bytes, connection: bytes) -> bytes:
        """The response; `headers` are whole lines, `connection` is the header of that name."""
        head, before, after = self._parts
        body = b"%b%b%b" % (before, json.dumps(instance).encode(), after)
        return b"%b%bconnection: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            head,
            headers,
            connection,
            len(body),
            body,
        )


OVERLOADED = Refusal(ProblemError("overloaded", "too many requests are being answered; try again in a moment"))
TOO_MANY_CONNECTIONS = Refusal(ProblemError("overloaded", "too many connections are open; use one for many requests"))
TOO_MANY_PIPELINED = Refusal(
    ProblemError("overloaded", f"at most {MAX_PIPELINED} requests may wait on one connection; wait for the answers")
)
BODIES_TOO_LARGE = Refusal(
    ProblemError("overloaded", "the bodies of all requests are too large together; try again in a moment")
)
HEADERS_TOO_LARGE = Refusal(ProblemError("headers-too-large", "the headers have more bytes than this service reads"))
URI_TOO_LONG = Refusal(ProblemError("uri-too-long", f"what is asked for has at most {MAX_TARGET_BYTES} bytes"))
TOO_SLOW = Refusal(ProblemError("request-timeout", "the request did not arrive in time; send it without a pause"))
