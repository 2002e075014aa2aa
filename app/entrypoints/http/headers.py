"""Headers that every request and every answer have in common."""

from collections.abc import Iterable

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
"""Request headers that this service reads and that may occur once. The parser checks Host, the gate credentials."""

NOT_STORED = (b"cache-control", b"no-store")
NOT_SNIFFED = (b"x-content-type-options", b"nosniff")


def refuse_repeated(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise `malformed-request` where a header that may occur once occurs twice, with the same value or another.

    Two readers of such a request may each take another one of the values (RFC 9110, 5.3).
    """
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in SINGLE:
            if name in seen:
                raise ProblemError("malformed-request", f"the header {name.decode()} was sent more than once")
            seen.add(name)


def protect(headers: list[tuple[bytes, bytes]]) -> None:
    """Add what every answer bears: it is neither stored by a cache nor taken for another media type.

    An answer that says itself how it may be cached keeps that.
    """
    if not any(name == b"cache-control" for name, _ in headers):
        headers.append(NOT_STORED)
    headers.append(NOT_SNIFFED)
