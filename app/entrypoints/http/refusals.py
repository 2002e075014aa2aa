"""Responses of the protocol to requests that do not reach the application: problems as bytes, rendered once."""

import json
from functools import cached_property
from http import HTTPStatus

from app.entrypoints.http.headers import protect
from app.entrypoints.http.problems import ProblemError, respond

MAX_TARGET_BYTES = 8192
MAX_PIPELINED = 16
"""The most requests that may be sent on a connection before the response to an earlier one. Few clients send any."""


class Refusal:
    """A problem as the bytes of an HTTP response. The parts that are the same for all requests are rendered once."""

    def __init__(self, problem: ProblemError) -> None:
        self._problem = problem
        self.status = HTTPStatus(problem.kind.status)

    @cached_property
    def _parts(self) -> tuple[bytes, bytes, bytes]:
        """The head, and the body before and after the instance. Rendered late, because it depends on the settings."""
        placeholder = "{instance}"
        response = respond(placeholder, self._problem)
        before, _, after = bytes(response.body).partition(json.dumps(placeholder).encode())
        pairs = [pair for pair in response.raw_headers if pair[0] != b"content-length"]
        protect(pairs)
        headers = b"".join(b"%b: %b\r\n" % pair for pair in pairs)
        return b"HTTP/1.1 %d %b\r\n%b" % (self.status, self.status.phrase.encode(), headers), before, after

    def render(self, instance: str, headers: bytes, connection: bytes) -> bytes:
        """The response; `headers` are complete lines, `connection` is the value of the header Connection."""
        head, before, after = self._parts
        body = b"%b%b%b" % (before, json.dumps(instance).encode(), after)
        return b"%b%bconnection: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            head,
            headers,
            connection,
            len(body),
            body,
        )


OVERLOADED = Refusal(ProblemError("overloaded", "too many requests are running; try again in a moment"))
TOO_MANY_CONNECTIONS = Refusal(ProblemError("overloaded", "too many connections are open; use one for many requests"))
TOO_MANY_PIPELINED = Refusal(
    ProblemError("overloaded", f"at most {MAX_PIPELINED} requests may wait on a connection; wait for the responses")
)
BODIES_TOO_LARGE = Refusal(
    ProblemError("overloaded", "the bodies of all requests together are too large; try again in a moment")
)
HEADERS_TOO_LARGE = Refusal(ProblemError("headers-too-large", "the headers have more bytes than this service accepts"))
URI_TOO_LONG = Refusal(ProblemError("uri-too-long", f"the request target may have at most {MAX_TARGET_BYTES} bytes"))
TOO_SLOW = Refusal(ProblemError("request-timeout", "the request did not arrive in time; send it without pauses"))
