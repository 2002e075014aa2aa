"""Headers that all requests and all responses have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.entrypoints.http.problems import ProblemError

SINGLE = frozenset(
    {
        b"content-type",
        b"content-length",
        b"idempotency-key",
        b"x-request-id",
        b"x-correlation-id",
        b"traceparent",
    }
)
"""Request headers that may occur once. The parser checks Host, and the gate checks credentials."""

ROUTING_KEY: Mapping[str, Any] = {
    "name": "Allocation-Routing-Key",
    "in": "header",
    "required": False,
    "description": (
        "A SKU of the request, or the id of its order if it names none. The service ignores it. A proxy in front of "
        "several processes can use it to send the requests of one part of the data to the same process, which serves "
        "them together. A request without it has the same effect and the same response."
    ),
    "schema": {"type": "string", "examples": ["RED-CHAIR"]},
}
"""The OpenAPI parameter of every writing route. See docs/cells.md."""

NOT_STORED = (b"cache-control", b"no-store")
NOT_SNIFFED = (b"x-content-type-options", b"nosniff")


def named_headers(scope: Mapping[str, Any]) -> dict[bytes, bytes]:
    """The headers of the request by name; of one that is repeated, the last value."""
    headers: dict[bytes, bytes] = scope["state"]["headers_by_name"]
    return headers


def refuse_repeated(headers: Sequence[tuple[bytes, bytes]], by_name: Mapping[bytes, bytes]) -> None:
    """Raise `malformed-request` if a header in SINGLE is repeated, even with the same value.

    A proxy and this service could each use a different one of the values (RFC 9110, 5.3).
    """
    if len(by_name) == len(headers):
        return
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in SINGLE:
            if name in seen:
                raise ProblemError("malformed-request", f"the header {name.decode()} was sent more than once")
            seen.add(name)


def protect(headers: list[tuple[bytes, bytes]]) -> None:
    """Add the headers that keep caches from storing a response and browsers from guessing its media type.

    An existing Cache-Control is kept.
    """
    for name, _ in headers:
        if name == b"cache-control":
            break
    else:
        headers.append(NOT_STORED)
    headers.append(NOT_SNIFFED)
