"""A minimal HTTP client without retries: HTTP/1.1 over one persistent connection, one request at a time."""

import asyncio
import json
from typing import Any, Self

from app.embedded.process import LOOPBACK

TIMEOUT = 15.0
"""Seconds for one response: well over the guaranteed 10, so that a violation shows."""


class NoAnswerError(Exception):
    """The connection was refused or lost, or timed out: the outcome of the request is unknown."""


class Connection:
    """A connection to one server, opened when needed and after a fault."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.headers: dict[str, str] = {}
        """The headers of the last response, names in lower case."""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(
        self, method: str, path: str, body: object = None, request_id: str = "", idempotency_key: str = ""
    ) -> tuple[int, Any]:
        """The status and the JSON body of the response (None without a body). Raises NoAnswerError."""
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._request(as_bytes(method, path, body, request_id, idempotency_key))
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError) as error:
            self.close()
            raise NoAnswerError(repr(error)) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def _request(self, parts: tuple[bytes, bytes]) -> tuple[int, Any]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(LOOPBACK, self.port)
        reader, writer = self._streams
        writer.write(b"".join(parts))
        status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.headers = headers
        answer = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(status_line.split()[1]), json.loads(answer) if answer else None


def as_bytes(
    method: str, path: str, body: object = None, request_id: str = "", idempotency_key: str = ""
) -> tuple[bytes, bytes]:
    """The head of the request, including its empty line, and its body."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Length: {len(content)}\r\n"
    if request_id:
        head += f"X-Request-ID: {request_id}\r\n"
    if idempotency_key:
        head += f"Idempotency-Key: {idempotency_key}\r\n"
    if body is not None:
        head += "Content-Type: application/json\r\n"
    return head.encode() + b"\r\n", content
