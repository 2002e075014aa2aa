"""Callers and their scopes. How credentials are checked is up to the adapters."""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

Scope = Literal["orders:write", "stock:write", "read", "admin"]
"""Permissions of a caller. No scope includes another: a caller that writes and reads orders needs two."""

SCOPES: frozenset[Scope] = frozenset(get_args(Scope))

MAX_PRINCIPAL_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: its name, which the history records, and its scopes."""

    principal: str
    scopes: frozenset[str]


class InvalidCredentialsError(Exception):
    """The credentials are unknown or no longer valid. The message gives the reason and never the credentials."""


class Authenticator(Protocol):
    """Identifies callers by their credentials."""

    takes_key_header: bool
    """Whether the credentials may also come in `X-API-Key`."""

    def recall(self, credentials: str) -> Caller | None:
        """The caller, if the credentials were checked recently; None if `check` has to be called."""

    async def check(self, credentials: str) -> Caller:
        """The caller. Raises InvalidCredentialsError, or TemporarilyUnavailableError if they cannot be checked now."""


class DenyAll:
    """Implements `Authenticator` while ALLOCATION_AUTH is not set: every caller is refused."""

    takes_key_header = False

    def recall(self, credentials: str) -> Caller | None:
        """None."""

    async def check(self, credentials: str) -> Caller:  # noqa: ARG002 - refused whatever they are
        """Raises InvalidCredentialsError."""
        raise InvalidCredentialsError("no caller is accepted, because ALLOCATION_AUTH is not set")


def is_principal(name: object) -> bool:
    """Whether the history can record the name: 1 to 255 printable characters."""
    return isinstance(name, str) and 0 < len(name) <= MAX_PRINCIPAL_LENGTH and name.isprintable()
