"""Who may call what. Each endpoint says it where it is declared, once: `@needs("orders:write")` or `@open_to_all`.

`ServiceRoute` reads the mark, writes it into the OpenAPI document, and asks the gate before it looks at anything else
of the request: whoever lacks the scope learns neither whether a SKU or an order exists nor what the right request is.
"""

import asyncio
import time
from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

from app.entrypoints.http.hosts import KnownHosts
from app.entrypoints.http.problems import ProblemError
from app.entrypoints.http.rate_limit import RateLimit
from app.service_layer.identity import Authenticator, Caller, InvalidCredentialsError, Scope
from app.service_layer.ports import TemporarilyUnavailableError

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

REALM = "allocation"
SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A JSON Web Token, or an API key: whichever the installation takes.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
}

_MARK = "needed_scope"


def needs(scope: Scope) -> Callable[[Endpoint], Endpoint]:
    """Marks an endpoint that only callers with the scope may use."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _MARK, scope)
        return endpoint

    return mark


def open_to_all(endpoint: Endpoint) -> Endpoint:
    """Marks an endpoint that tells nothing of the business, and that anybody may use."""
    setattr(endpoint, _MARK, None)
    return endpoint


def scope_of(endpoint: Callable[..., Any]) -> Scope | None:
    """The scope that the endpoint needs, None where anybody may use it. Raises TypeError where it does not say."""
    try:
        scope: Scope | None = getattr(endpoint, _MARK)
    except AttributeError:
        raise TypeError(f"{endpoint.__qualname__} has to be marked with @needs(scope) or @open_to_all") from None
    return scope


def security_of(scope: Scope | None) -> list[dict[str, list[str]]]:
    """What OpenAPI calls the security of an operation: any one of the schemes will do."""
    return [] if scope is None else [{name: [scope]} for name in SECURITY_SCHEMES]


class Gate:
    """Lets a request pass, or raises the problem that it is answered with."""

    def __init__(
        self, authenticator: Authenticator | None, rate_limit: RateLimit | None, hosts: KnownHosts | None = None
    ) -> None:
        """Without an authenticator every caller may do everything, and all share one rate.

        Only web pages of other origins are refused then, and requests that name a host that is not among `hosts`.
        """
        self._authenticator = authenticator
        self._rate_limit = rate_limit
        self._hosts = hosts or KnownHosts()

    @property
    def knows_callers(self) -> bool:
        """Whether whoever passes has said who they are."""
        return self._authenticator is not None

    async def admit(self, scope: MutableMapping[str, Any], needed: Scope, seconds: float) -> float:
        """Note who calls. Returns how many of the seconds are left.

        Raises ProblemError (`unauthenticated`, `forbidden`, `misdirected-request`, `too-many-requests`, `unavailable`),
        or TimeoutError where the identity provider does not answer in time.
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
            raise ProblemError("forbidden", f"this needs the scope {needed}", headers=challenge)
        return left


def _refuse_foreign_page(scope: MutableMapping[str, Any], known: KnownHosts) -> None:
    """Raise `misdirected-request` for a host that is not known, and `forbidden` for a page of another origin.

    A service that does not identify callers answers every program that reaches it. A web page from elsewhere, open in a
    browser that reaches it, must not use that. Sources: https://www.rfc-editor.org/rfc/rfc6454#section-7,
    https://www.rfc-editor.org/rfc/rfc9110#section-15.5.20
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    hosts = [value for name, value in headers if name == b"host"]
    if not all(host in known for host in hosts):
        detail = (
            "without authentication this service answers requests for IP addresses, localhost and the hosts in"
            " ALLOCATION_HTTP_ALLOWED_HOSTS only"
        )
        raise ProblemError("misdirected-request", detail)
    for name, origin in headers:
        if name == b"origin" and origin.partition(b"://")[2] not in hosts:
            raise ProblemError("forbidden", "without authentication this service refuses requests of other web pages")


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
            # Nearly every request comes by here, and to set a timer costs more than all the rest of the gate.
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
    """What the caller shows. Raises InvalidCredentialsError where it is more than one thing, or of another kind."""
    found: str | None = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, shown = value.decode("latin-1").partition(" ")
            if scheme.lower() != "bearer":
                raise InvalidCredentialsError("the scheme of Authorization has to be Bearer")
        elif name == b"x-api-key" and takes_key_header:
            shown = value.decode("latin-1")
        else:
            continue
        if found is not None:
            raise InvalidCredentialsError("credentials were sent more than once")
        found = shown.strip()
    return found or None


def _challenge(**parameters: str) -> dict[str, str]:
    """What RFC 6750 has the answer say of the credentials that would do. No parameter may bear a quotation mark."""
    quoted = ", ".join(f'{name}="{value}"' for name, value in {"realm": REALM, **parameters}.items())
    return {"WWW-Authenticate": f"Bearer {quoted}"}
