"""Whether the credentials that opened a stream are still valid."""

from typing import Any

import pytest

from app.entrypoints.http.identity import Gate
from app.service_layer.callers import Caller, InvalidCredentialsError
from app.service_layer.ports import TemporarilyUnavailableError

SCOPE: dict[str, Any] = {"headers": [(b"authorization", b"Bearer token")]}


class Authenticator:
    """Knows one caller, or raises an error."""

    takes_key_header = False

    def __init__(self, scopes: frozenset[str] = frozenset({"read"}), error: Exception | None = None) -> None:
        self._scopes = scopes
        self._error = error

    def recall(self, credentials: str) -> Caller | None:
        return None

    async def check(self, credentials: str) -> Caller:
        if self._error is not None:
            raise self._error
        return Caller("board", self._scopes)


@pytest.mark.parametrize(
    ("authenticator", "still"),
    [
        (Authenticator(), True),
        (Authenticator(error=InvalidCredentialsError("the token has expired")), False),
        (Authenticator(scopes=frozenset({"orders:write"})), False),
        (Authenticator(error=TemporarilyUnavailableError("the identity provider does not respond")), True),
        (Authenticator(error=TimeoutError()), True),
        (None, True),
    ],
    ids=["valid", "expired", "without the scope", "provider unavailable", "provider too slow", "no authentication"],
)
async def test_a_stream_continues_while_its_credentials_are_not_refused(
    authenticator: Authenticator | None, *, still: bool
) -> None:
    assert await Gate(authenticator, None).still_admits(SCOPE, "read", 5.0) is still
