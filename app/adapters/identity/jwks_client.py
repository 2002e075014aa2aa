"""The keys that an identity provider signs with, as it publishes them (JWKS)."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from typing import Any

import jwt

from app.adapters.identity.download import download
from app.service_layer.identity import InvalidCredentialsError
from app.service_layer.ports import TemporarilyUnavailableError

log = logging.getLogger(__name__)

Keys = Mapping[tuple[str, str], jwt.PyJWK]
"""By their ids and by what they sign with: where a key does not say that (RFC 7517, 4.4), it is whatever fits."""

KEY_TYPES = ("RSA", "EC", "OKP", "oct")
FETCH_DEADLINE = 4.0
"""Seconds for all of an answer."""
MAX_BYTES = 1_000_000
FETCHED_BESIDE = 0.8
"""The share of their greatest age from which on the keys are fetched again while the old ones still count."""
STALE_LIMIT = 30.0
"""Seconds for which a provider that did not answer is asked beside the requests only."""


class JwksClient:
    """Implements `SigningKeys` with what the identity provider publishes, and keeps that.

    Keys that are older than `max_age` seconds are good for nothing until they are fetched again. So that nobody has to
    wait for it, they are fetched beside the requests shortly before; after a quiet night somebody waits. What is kept
    stays good only while the provider is away, and for `STALE_LIMIT` seconds after it was nobody waits for it.

    They are fetched too when a token names a key that is not among them; but so that nobody can make this service a
    nuisance with invented names, never more often than every `min_interval` seconds. In between nobody can tell.
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
        # When it was last begun, when what is kept was asked for, and when it last went wrong.
        self._tried = self._fetched = self._failed = float("-inf")
        self.withdrawals = 0

    async def find(self, kid: str, algorithm: str) -> jwt.PyJWK:
        """See `SigningKeys`."""
        now = self._clock()
        age = now - self._fetched
        key = self._keys.get((kid, algorithm))
        if key is None or (age >= self._max_age and now - self._failed >= STALE_LIMIT):
            fetching = self._fetch_soon()
            if fetching is not None:
                # Whoever hangs up must not take the keys from the others.
                await asyncio.wait([fetching])
            key = self._keys.get((kid, algorithm))
        elif age >= self._max_age * FETCHED_BESIDE:
            self._fetch_soon()
        if key is not None:
            return key
        if self._fetched < self._tried:
            raise TemporarilyUnavailableError("the identity provider does not answer")
        if self._fetched < now:
            # It may have been published since; to say that it is nobody's would have a good token thrown away.
            raise TemporarilyUnavailableError("the token names a key that was not published a moment ago")
        raise InvalidCredentialsError("the token is signed with a key that is not published")

    def _fetch_soon(self) -> asyncio.Task[None] | None:
        """Fetch the keys unless that has just been tried. Returns what is under way."""
        if self._fetching is None and self._clock() - self._tried >= self._min_interval:
            self._tried = self._clock()
            self._fetching = asyncio.create_task(self._fetch(), name="fetch-signing-keys")
        return self._fetching

    async def _fetch(self) -> None:
        try:
            answer = await download(self._url, seconds=self._deadline, max_bytes=MAX_BYTES)
            self._take(_parsed(answer, self._algorithms))
            # Not when it came: what was published is at least so old.
            self._fetched = self._tried
        except Exception as error:
            # Whatever it is: nobody awaits the task itself, so it would be lost.
            self._failed = self._clock()
            is_usual = isinstance(error, (OSError, HTTPException, ValueError))
            log.warning("the keys of the identity provider could not be fetched: %s", error, exc_info=not is_usual)
        finally:
            self._fetching = None

    def _take(self, keys: Keys) -> None:
        if keys.keys() != self._keys.keys():
            log.info("the identity provider signs with %s", ", ".join(sorted({kid for kid, _ in keys})) or "no key")
        if any(name not in keys or keys[name].key != key.key for name, key in self._keys.items()):
            self.withdrawals += 1
        self._keys = keys


def _parsed(answer: bytes, algorithms: Sequence[str]) -> Keys:
    """The keys in the answer that may sign. Raises ValueError where there is no key in it at all."""
    match json.loads(answer):
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
            raise ValueError("there is no key in the answer")


def _key(given: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    """The key as one of the algorithm; None where the two do not fit."""
    try:
        key = jwt.PyJWK(given, algorithm)
        # The curve is not looked at before.
        key.Algorithm.prepare_key(key.key)
    except Exception:  # noqa: BLE001 - a key that is none takes nothing from the others
        return None
    return key
