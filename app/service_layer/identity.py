"""Who calls, and what that caller may do. The adapters know how credentials are checked; nothing here does."""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

Scope = Literal["orders:write", "stock:write", "read", "admin"]
"""What a caller may do. None of them includes another: who writes orders and looks them up has two."""

SCOPES: frozenset[Scope] = frozenset(get_args(Scope))

MAX_PRINCIPAL_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whose credentials were checked: their name, for the history, and what they may do."""

    principal: str
    scopes: frozenset[str]


class InvalidCredentialsError(Exception):
    """The credentials are nobody's, or no longer. The text says why, and nothing of the credentials themselves."""


class Authenticator(Protocol):
    """Knows callers by their credentials."""

    takes_key_header: bool
    """Whether the credentials may also come in `X-API-Key`."""

    def recall(self, credentials: str) -> Caller | None:
        """The caller, where the credentials were checked a moment ago; None where they have to be checked."""

    async def check(self, credentials: str) -> Caller:
        """The caller. Raises InvalidCredentialsError; TemporarilyUnavailableError where that cannot be told now."""


class Nobody:
    """Implements `Authenticator` where nobody has said how callers are known: it knows none of them."""

    takes_key_header = False

    def recall(self, credentials: str) -> Caller | None:
        """Nobody."""

    async def check(self, credentials: str) -> Caller:  # noqa: ARG002 - whatever is shown
        """Raises InvalidCredentialsError."""
        raise InvalidCredentialsError("this installation knows no callers; ALLOCATION_AUTH is not set")


def is_principal(name: object) -> bool:
    """Whether the name can stand in the history: some printable characters, and not too many."""
    return isinstance(name, str) and 0 < len(name) <= MAX_PRINCIPAL_LENGTH and name.isprintable()
