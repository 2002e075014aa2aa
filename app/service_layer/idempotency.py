"""Requests that bear a key: the same request again is answered with the stored answer of the first.

The answer is stored in the transaction of the effect, so there is never one without the other. That is why it has to be
rendered inside the unit of work.

Source: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.domain.errors import DomainError


class IdempotencyKeyReusedError(DomainError):
    """The key came with another request before."""

    code = "idempotency-key-reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key came with another request before; use a new key for a new request")


class IdempotencyKeyInUseError(DomainError):
    """The first request with the key is still being worked on."""

    code = "idempotency-key-in-use"

    def __init__(self) -> None:
        super().__init__("The first request with this Idempotency-Key is still running; try again for its answer")


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer as it was given, ready to be given again."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The key of a request. A key belongs to the `principal` who sent it.

    `fingerprint` is a digest of everything that was asked for. `render` makes the answer out of the result of the
    command, or out of the refusal.
    """

    principal: str
    key: str
    fingerprint: bytes
    render: Callable[[Any, DomainError | None], StoredAnswer]

    @property
    def name(self) -> tuple[str, str]:
        """What the answer is stored under."""
        return (self.principal, self.key)
