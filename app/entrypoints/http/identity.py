"""Authentication and authorization. Each endpoint declares its scope: `@needs("orders:write")` or `@open_to_all`.

`ServiceRoute` writes the scope into the OpenAPI document and calls the gate before it validates the request. So a
caller without the scope cannot find out whether a SKU or an order exists.
"""

import asyncio
import time
from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

from app.entrypoints.http.headers import named_headers
from app.entrypoints.http.hosts import KnownHosts
from app.entrypoints.http.problems import ProblemError
from app.entrypoints.http.rate_limit import RateLimit
from app.service_layer.callers import Authenticator, Caller, InvalidCredentialsError, Scope
from app.service_layer.ports import TemporarilyUnavailableError

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

REALM = "allocation"
SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A JSON Web Token or an API key, depending on the installation.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
}

_MARK = "needed_scope"


def needs(scope: Scope) -> Callable[[Endpoint], Endpoint]:
    """Declare that an endpoint requires the scope."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _MARK, scope)
        return endpoint

    return mark


def open_to_all(endpoint: Endpoint) -> Endpoint:
    """Declare that an endpoint requires no authentication: it returns no business data."""
    setattr(endpoint, _MARK, None)
    return endpoint


def scope_of(endpoint: Callable[..., Any]) -> Scope | None:
    """The scope that the endpoint requires, None if it is open to all. Raises TypeError if it declares neither."""
    try:
        scope: Scope | None = getattr(endpoint, _MARK)
    except AttributeError:
        raise TypeError(f"{endpoint.__qualname__} has to be declared with @needs(scope) or @open_to_all") from None
    return scope


def security_of(scope: Scope | None) -> list[dict[str, list[str]]]:
    """The OpenAPI security requirements of an operation: any one of the schemes is sufficient."""
    return [] if scope is None else [{name: [scope]} for name in SECURITY_SCHEMES]


class Gate:
    """Authenticates, authorizes and rate-limits requests."""

    def __init__(
        self, authenticator: Authenticator | None, rate_limit: RateLimit | None, hosts: KnownHosts | None = None
    ) -> None:
        """Without an authenticator all callers have all scopes and share one rate limit.

        Then the gate refuses only web pages of other origins, and requests for a host that is not in `hosts`.
        """
        self._authenticator = authenticator
        self._rate_limit = rate_limit
        self._hosts = hosts or KnownHosts()

    @property
    def knows_callers(self) -> bool:
        """Whether callers are authenticated."""
        return self._authenticator is not None

    async def admit(self, scope: MutableMapping[str, Any], needed: Scope, seconds: float) -> float:
        """Identify the caller and note it in the request's cause. Returns the remaining seconds of the deadline.

        Raises ProblemError (`unauthenticated`, `forbidden`, `misdirected-request`, `too-many-requests`, `unavailable`),
        or TimeoutError if the identity provider does not answer in time.
        """
        caller, left = None, seconds
        if self._authenticator is None:
            _refuse_foreign_page(scope, self._hosts)
        else:
            caller, left = await _identify(self._authenticator, scope, seconds)
        state = scope["state"]
        if caller is not None:
            state["cause"] = state["cause"].by(caller.principal)
        if self._rate_limit is not None:
            headers: list[tuple[bytes, bytes]] = []
            state["headers"] = headers
            self._rate_limit.take(None if caller is None else caller.principal, headers)
        if caller is not None and needed not in caller.scopes:
            challenge = _challenge(error="insufficient_scope", scope=needed)
            raise ProblemError("forbidden", f"this operation requires the scope {needed}", headers=challenge)
        return left

    async def still_admits(self, scope: MutableMapping[str, Any], needed: Scope, seconds: float) -> bool:
        """Whether the credentials of an admitted request are still valid. True if they cannot be checked now."""
        if self._authenticator is None:
            return True
        try:
            caller, _ = await _identify(self._authenticator, scope, seconds)
        except TimeoutError:
            return True
        except ProblemError as problem:
            return problem.kind.code == "unavailable"
        return needed in caller.scopes


def _refuse_foreign_page(scope: MutableMapping[str, Any], known: KnownHosts) -> None:
    """Raise `misdirected-request` for a host that is not allowed, and `forbidden` for a page of another origin.

    Without authentication the service answers every program that can connect to it. A browser can connect to it too,
    and must not do so for pages of other sites. Sources: https://www.rfc-editor.org/rfc/rfc6454#section-7,
    https://www.rfc-editor.org/rfc/rfc9110#section-15.5.20
    """
    headers = named_headers(scope)
    # The parser refuses a second one. HTTP/1.0 has none.
    host = headers.get(b"host")
    if host is not None and host not in known:
        detail = (
            "without authentication this service answers only requests for IP addresses, localhost and the hosts in"
            " ALLOCATION_HTTP_ALLOWED_HOSTS"
        )
        raise ProblemError("misdirected-request", detail)
    if b"origin" in headers:
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if any(origin.partition(b"://")[2] != host for origin in origins):
            raise ProblemError("forbidden", "without authentication this service refuses requests from other web pages")


async def _identify(
    authenticator: Authenticator, scope: MutableMapping[str, Any], seconds: float
) -> tuple[Caller, float]:
    try:
        credentials = _credentials(scope, takes_key_header=authenticator.takes_key_header)
        if credentials is None:
            ways = "Authorization: Bearer" + (" or X-API-Key" if authenticator.takes_key_header else "")
            raise ProblemError("unauthenticated", f"send your credentials as {ways}", headers=_challenge())
        caller = authenticator.recall(credentials)
        if caller is not None:
            # The usual case. Setting a timer would cost more than all the rest of the gate.
            return caller, seconds
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            caller = await authenticator.check(credentials)
        return caller, seconds - (time.monotonic() - began)
    except InvalidCredentialsError as error:
        challenge = _challenge(error="invalid_token", error_description=str(error))
        raise ProblemError("unauthenticated", str(error), headers=challenge) from None
    except TemporarilyUnavailableError as error:
        raise ProblemError("unavailable", f"{error}; try again") from error


def _credentials(scope: MutableMapping[str, Any], *, takes_key_header: bool) -> str | None:
    """The credentials in the headers. Raises InvalidCredentialsError if there are several or of another scheme."""
    found: str | None = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, shown = value.decode("latin-1").partition(" ")
            if scheme.lower() != "bearer":
                raise InvalidCredentialsError("the scheme of Authorization must be Bearer")
        elif name == b"x-api-key" and takes_key_header:
            shown = value.decode("latin-1")
        else:
            continue
        if found is not None:
            raise InvalidCredentialsError("credentials were sent more than once")
        found = shown.strip()
    return found or None


def _challenge(**parameters: str) -> dict[str, str]:
    """The header WWW-Authenticate as RFC 6750 defines it. Parameters must not contain quotation marks."""
    quoted = ", ".join(f'{name}="{value}"' for name, value in {"realm": REALM, **parameters}.items())
    return {"WWW-Authenticate": f"Bearer {quoted}"}
