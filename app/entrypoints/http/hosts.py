"""The host names that requests may use without authentication: a protection against DNS rebinding.

A page of another site can make its own name resolve to 127.0.0.1. The browser then sends the page's requests here, with
that name as Host and as Origin. An IP address cannot be rebound, and names below `localhost` are resolved on the
machine only (RFC 6761, 6.3); any other name has to be listed.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

ANY = "*"


class KnownHosts:
    """The allowed hosts: IP addresses, loopback names and the listed names; `*` allows every name."""

    def __init__(self, listed: Iterable[str] = ()) -> None:
        self._listed = frozenset(name.lower().rstrip(".") for name in listed)
        # Parsing an address takes microseconds; most requests repeat one of a few names.
        self._is_known = lru_cache(maxsize=256)(self._look_up)

    def __contains__(self, host: bytes) -> bool:
        """Whether a value of the header Host, with or without a port, is an allowed host."""
        return self._is_known(host)

    def _look_up(self, host: bytes) -> bool:
        name = _without_port(host.decode("latin-1").lower()).rstrip(".")
        if ANY in self._listed or name in self._listed or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]
