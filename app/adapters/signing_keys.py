"""The keys that an identity provider signs with, as it publishes them (JWKS)."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

import jwt

from app.service_layer.identity import InvalidCredentialsError
from app.service_layer.ports import TemporarilyUnavailableError

log = logging.getLogger(__name__)

FETCH_TIMEOUT = 4.0


class PublishedKeys:
    """Implements `SigningKeys` with what the identity provider publishes, fetched in a thread and kept.

    What is kept stays good while the provider is away. It is fetched again once it is older than `max_age` seconds,
    beside the requests, and when a token names a key that is not in it: requests then wait for it, but so that nobody
    can make this service a nuisance with invented names, not more often than every `min_interval` seconds.
    """

    def __init__(
        self, url: str, algorithms: Sequence[str], *, max_age: float = 300.0, min_interval: float = 5.0
    ) -> None:
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_TIMEOUT)
        self._algorithms = frozenset(algorithms)
        self._max_age = max_age
        self._min_interval = min_interval
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetching: asyncio.Task[None] | None = None
        self._tried = self._fetched = float("-inf")

    async def find(self, kid: str) -> jwt.PyJWK:
        """The key. Raises InvalidCredentialsError where none is called that, TemporarilyUnavailableError for now."""
        key = self._keys.get(kid)
        if key is not None:
            if time.monotonic() - self._fetched > self._max_age:
                self._fetch_soon()
            return key
        fetching = self._fetch_soon()
        if fetching is not None:
            # Whoever hangs up must not take the keys from the others. The time is the socket's and some for the name.
            await asyncio.wait([fetching], timeout=FETCH_TIMEOUT + 1)
        key = self._keys.get(kid)
        if key is not None:
            return key
        if self._fetched < self._tried:
            raise TemporarilyUnavailableError("the identity provider does not answer")
        raise InvalidCredentialsError("the token is signed with a key that is not published")

    def _fetch_soon(self) -> asyncio.Task[None] | None:
        """Fetch the keys unless that has just been tried. Returns what is under way."""
        if self._fetching is None and time.monotonic() - self._tried >= self._min_interval:
            self._tried = time.monotonic()
            self._fetching = asyncio.create_task(self._fetch(), name="fetch-signing-keys")
        return self._fetching

    async def _fetch(self) -> None:
        try:
            published = jwt.PyJWKSet.from_dict(await asyncio.to_thread(self._client.fetch_data))
        except (jwt.PyJWTError, ValueError, OSError) as error:
            log.warning("the keys of the identity provider could not be fetched: %s", error)
        else:
            keys = {key.key_id: key for key in published.keys if key.key_id and self._may_sign(key)}
            if keys.keys() != self._keys.keys():
                log.info("the identity provider signs with %s", ", ".join(sorted(keys)) or "no key")
            self._keys = keys
            self._fetched = time.monotonic()
        finally:
            self._fetching = None

    def _may_sign(self, key: jwt.PyJWK) -> bool:
        return key.public_key_use in {None, "sig"} and key.algorithm_name in self._algorithms
