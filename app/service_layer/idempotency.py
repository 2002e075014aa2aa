"""Idempotency keys: a repeated request with the same key gets the stored answer of the first request.

The answer is stored in the transaction of the effect, so neither exists without the other. Therefore it is encoded
inside the unit of work.

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
    """An answer that was given and can be repeated."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


AnswerEncoder = Callable[[Any, DomainError | None], StoredAnswer]
"""Makes the answer from the result of a command, or from its refusal."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The key of a request. It belongs to the `principal` that sent it; `fingerprint` is a digest of the request."""

    principal: str
    key: str
    fingerprint: bytes

    @property
    def name(self) -> tuple[str, str]:
        """The name under which the answer is stored."""
        return (self.principal, self.key)
