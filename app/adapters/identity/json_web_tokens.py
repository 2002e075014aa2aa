"""Authentication by JSON Web Tokens of an identity provider."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from app.service_layer.callers import MAX_PRINCIPAL_LENGTH, Caller, InvalidCredentialsError, is_principal

MAX_CACHED_TOKENS = 10_000
_REASONS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidIssuerError: "the token is from another issuer",
    jwt.InvalidSignatureError: "the signature of the token is wrong",
}


class SigningKeys(Protocol):
    """Finds signing keys."""

    withdrawals: int
    """The number of times that a key was withdrawn or replaced. Each invalidates the cached tokens."""

    async def find(self, kid: str, algorithm: str) -> jwt.PyJWK:
        """The key with this id for this algorithm.

        Raises InvalidCredentialsError if there is no such key, TemporarilyUnavailableError if that is unknown now.
        """


@dataclass(frozen=True, slots=True)
class _CachedCaller:
    caller: Caller
    until: float
    """On the monotonic clock of `JwtAuthenticator`."""
    withdrawals: int


class JwtAuthenticator:
    """Implements `Authenticator`.

    Verifying a signature costs about as much as the rest of a request. So a verified token is cached for `recheck`
    seconds, until it expires, or until a signing key is withdrawn.
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
        cache_size: int = MAX_CACHED_TOKENS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._algorithms = list(algorithms)
        self._leeway = leeway
        self._recheck = recheck
        self._cache_size = cache_size
        self._clock = clock
        self._cache: dict[str, _CachedCaller] = {}

    def recall(self, credentials: str) -> Caller | None:
        """The caller of a cached token."""
        cached = self._cache.get(credentials)
        if cached is None or self._clock() >= cached.until or cached.withdrawals != self._keys.withdrawals:
            return None
        return cached.caller

    async def check(self, credentials: str) -> Caller:
        """The caller. Raises InvalidCredentialsError, or TemporarilyUnavailableError while keys cannot be fetched."""
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
        self._store(credentials, _CachedCaller(caller, self._clock() + seconds, self._keys.withdrawals))
        return caller

    def _key_named_in(self, token: str) -> tuple[str, str]:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise InvalidCredentialsError("the token is not a JSON Web Token") from None
        # Before the key is looked up, which may cause a request to the provider.
        algorithm = header.get("alg")
        if algorithm not in self._algorithms:
            raise InvalidCredentialsError(f"the token must be signed with {' or '.join(self._algorithms)}")
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise InvalidCredentialsError("the token does not name its key (kid)")
        return kid, algorithm

    def _store(self, token: str, cached: _CachedCaller) -> None:
        # A token that is checked again becomes the newest.
        self._cache.pop(token, None)
        if len(self._cache) >= self._cache_size:
            del self._cache[next(iter(self._cache))]
        self._cache[token] = cached


def _reason(error: Exception) -> str:
    """The reason, without content of the token."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"the token lacks the claim {error.claim}"
    return _REASONS.get(type(error), "the token is not valid")


def _caller(claims: Mapping[str, Any]) -> Caller:
    if not is_principal(claims["sub"]):
        raise InvalidCredentialsError(f"the claim sub must have 1 to {MAX_PRINCIPAL_LENGTH} printable characters")
    return Caller(claims["sub"], frozenset(_scopes(claims)))


def _scopes(claims: Mapping[str, Any]) -> list[str]:
    """The scopes in `scope` (RFC 8693) or `scp`: separated by spaces, or a list."""
    given = claims.get("scope", claims.get("scp", ""))
    if isinstance(given, str):
        return given.split()
    return [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
