"""Callers known by JSON Web JwtAuthenticator, which an identity provider signs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from app.service_layer.identity import MAX_PRINCIPAL_LENGTH, Caller, InvalidCredentialsError, is_principal

KEPT_TOKENS = 10_000
_REASONS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidIssuerError: "the token is from another issuer",
    jwt.InvalidSignatureError: "the signature of the token is wrong",
}


class SigningKeys(Protocol):
    """Finds the key that a token names."""

    withdrawals: int
    """How often a key was withdrawn, or replaced by another: what was believed before has to be checked anew."""

    async def find(self, kid: str, algorithm: str) -> jwt.PyJWK:
        """The key, for that algorithm alone.

        Raises InvalidCredentialsError where none is called that, TemporarilyUnavailableError where that is not known.
        """


@dataclass(frozen=True, slots=True)
class _Kept:
    caller: Caller
    until: float
    """On the clock of `JwtAuthenticator`, which nobody sets."""
    withdrawals: int


class JwtAuthenticator:
    """Implements `Authenticator`.

    A signature costs about as much as the rest of a request, so a token that was checked is believed for `recheck`
    seconds, or until it expires, or until a signing key is known to be withdrawn.
    """

    takes_key_header = False

    def __init__(
        self,
        keys: SigningKeys,
        *,
        issuer: str,
        audience: str,
        algorithms: Sequence[str],
        leeway: float = 10.0,
        recheck: float = 60.0,
        cache_size: int = KEPT_TOKENS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._algorithms = list(algorithms)
        self._leeway = leeway
        self._recheck = recheck
        self._kept_tokens = cache_size
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    def recall(self, credentials: str) -> Caller | None:
        """The caller whose token was checked a moment ago and has not expired since."""
        kept = self._kept.get(credentials)
        if kept is None or self._clock() >= kept.until or kept.withdrawals != self._keys.withdrawals:
            return None
        return kept.caller

    async def check(self, credentials: str) -> Caller:
        """The caller. Raises InvalidCredentialsError; TemporarilyUnavailableError while there is no key."""
        key = await self._keys.find(*self._key_named_in(credentials))
        try:
            claims = jwt.decode(
                credentials,
                key,
                algorithms=self._algorithms,
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway,
                options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
            )
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise InvalidCredentialsError(_reason(error)) from None
        caller = _caller(claims)
        seconds = min(self._recheck, int(claims["exp"]) + self._leeway - time.time())
        self._keep(credentials, _Kept(caller, self._clock() + seconds, self._keys.withdrawals))
        return caller

    def _key_named_in(self, token: str) -> tuple[str, str]:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise InvalidCredentialsError("the token is no JSON Web Token") from None
        # Before anybody is asked for a key.
        algorithm = header.get("alg")
        if algorithm not in self._algorithms:
            raise InvalidCredentialsError(f"the token has to be signed with {' or '.join(self._algorithms)}")
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise InvalidCredentialsError("the token does not name its key (kid)")
        return kid, algorithm

    def _keep(self, token: str, kept: _Kept) -> None:
        # A token that is checked anew becomes the newest.
        self._kept.pop(token, None)
        if len(self._kept) >= self._kept_tokens:
            del self._kept[next(iter(self._kept))]
        self._kept[token] = kept


def _reason(error: Exception) -> str:
    """What is wrong with the token, in words that repeat nothing of it."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"the token lacks the claim {error.claim}"
    return _REASONS.get(type(error), "the token is not valid")


def _caller(claims: Mapping[str, Any]) -> Caller:
    if not is_principal(claims["sub"]):
        raise InvalidCredentialsError(f"the claim sub has to be 1 to {MAX_PRINCIPAL_LENGTH} printable characters")
    return Caller(claims["sub"], frozenset(_scopes(claims)))


def _scopes(claims: Mapping[str, Any]) -> list[str]:
    """What stands in `scope` (RFC 8693) or in `scp`, with spaces between or as a list."""
    given = claims.get("scope", claims.get("scp", ""))
    if isinstance(given, str):
        return given.split()
    return [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
