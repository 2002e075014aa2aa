"""The signing keys that an identity provider publishes (JWKS)."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from typing import Any

import jwt

from app.adapters.identity.download import download
from app.service_layer.callers import InvalidCredentialsError
from app.service_layer.ports import TemporarilyUnavailableError

log = logging.getLogger(__name__)

Keys = Mapping[tuple[str, str], jwt.PyJWK]
"""By id and algorithm. A key without `alg` (RFC 7517, 4.4) is there for each algorithm that fits it."""

KEY_TYPES = ("RSA", "EC", "OKP", "oct")
FETCH_DEADLINE = 4.0
"""Seconds for the whole response."""
MAX_BYTES = 1_000_000
REFRESH_FROM = 0.8
"""The fraction of `max_age` after which the keys are refreshed in the background while the old ones are valid."""
STALE_LIMIT = 30.0
"""Seconds after a failed fetch during which requests use expired keys and do not wait for another fetch."""


class JwksClient:
    """Implements `SigningKeys` with a cache of the keys that the identity provider publishes.

    Keys older than `max_age` seconds are fetched again before they are used. A background refresh shortly before keeps
    requests from waiting; after a long pause the first request waits. While the provider is unavailable, old keys stay
    valid, and requests do not wait for a fetch within `STALE_LIMIT` seconds after a failed one.

    Keys are also fetched when a token names an unknown key, at most every `min_interval` seconds, so that invented key
    ids cannot flood the provider. Within the interval, `find` raises TemporarilyUnavailableError for an unknown key.
    """

    def __init__(
        self,
        url: str,
        algorithms: Sequence[str],
        *,
        max_age: float = 300.0,
        min_interval: float = 5.0,
        deadline: float = FETCH_DEADLINE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._algorithms = tuple(algorithms)
        self._max_age = max_age
        self._min_interval = min_interval
        self._deadline = deadline
        self._clock = clock
        self._keys: Keys = {}
        self._fetching: asyncio.Task[None] | None = None
        # The start of the last fetch, of the last successful one, and the end of the last failed one.
        self._started_at = self._fetched_at = self._failed_at = float("-inf")
        self.withdrawals = 0

    async def find(self, kid: str, algorithm: str) -> jwt.PyJWK:
        """See `SigningKeys`."""
        now = self._clock()
        age = now - self._fetched_at
        key = self._keys.get((kid, algorithm))
        if key is None or (age >= self._max_age and now - self._failed_at >= STALE_LIMIT):
            fetching = self._start_fetch()
            if fetching is not None:
                # Not awaited itself: a cancelled request must not cancel the fetch for the others.
                await asyncio.wait([fetching])
            key = self._keys.get((kid, algorithm))
        elif age >= self._max_age * REFRESH_FROM:
            self._start_fetch()
        if key is not None:
            return key
        if self._fetched_at < self._started_at:
            raise TemporarilyUnavailableError("the identity provider does not answer")
        if self._fetched_at < now:
            # The key may have been published since. InvalidCredentialsError would reject a valid token.
            raise TemporarilyUnavailableError("the signing key of the token was not published at the last check")
        raise InvalidCredentialsError("the token is signed with a key that is not published")

    def _start_fetch(self) -> asyncio.Task[None] | None:
        """Start a fetch unless one is running or was started within `min_interval`. Returns the running one."""
        if self._fetching is None and self._clock() - self._started_at >= self._min_interval:
            self._started_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch(), name="fetch-signing-keys")
        return self._fetching

    async def _fetch(self) -> None:
        try:
            response = await download(self._url, seconds=self._deadline, max_bytes=MAX_BYTES)
            self._replace_keys(_parsed(response, self._algorithms))
            # The start and not the end: the keys may have been read at any time after the start.
            self._fetched_at = self._started_at
        except Exception as error:
            # Every error is logged here, because the task is not awaited for its result.
            self._failed_at = self._clock()
            is_usual = isinstance(error, (OSError, HTTPException, ValueError))
            log.warning("the keys of the identity provider could not be fetched: %s", error, exc_info=not is_usual)
        finally:
            self._fetching = None

    def _replace_keys(self, keys: Keys) -> None:
        if keys.keys() != self._keys.keys():
            log.info("the identity provider signs with %s", ", ".join(sorted({kid for kid, _ in keys})) or "no key")
        if any(name not in keys or keys[name].key != key.key for name, key in self._keys.items()):
            self.withdrawals += 1
        self._keys = keys


def _parsed(response: bytes, algorithms: Sequence[str]) -> Keys:
    """The signing keys in the response. Raises ValueError if it contains no key."""
    match json.loads(response):
        case {"keys": list(listed)} if any(isinstance(each, dict) and each.get("kty") in KEY_TYPES for each in listed):
            return {
                (each["kid"], algorithm): key
                for each in listed
                if isinstance(each, dict) and isinstance(each.get("kid"), str) and each.get("use") in (None, "sig")
                for algorithm in algorithms
                if each.get("alg") in (None, algorithm)
                if (key := _key(each, algorithm)) is not None
            }
        case _:
            raise ValueError("there is no key in the response")


def _key(given: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    """The key for the algorithm; None if they do not fit."""
    try:
        key = jwt.PyJWK(given, algorithm)
        # Checks the curve, which PyJWK does not.
        key.Algorithm.prepare_key(key.key)
    except Exception:  # noqa: BLE001 - an invalid key does not affect the others
        return None
    return key
