"""Which names of this service requests may use where callers are not identified: a guard against DNS rebinding.

A page of another site can make its own name resolve to 127.0.0.1. The browser then sends the page's requests here, with
that name as Host and as Origin alike. An IP address cannot be rebound, and names below `localhost` never leave the
machine (RFC 6761, 6.3); any other name has to be listed.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

ANY = "*"


class KnownHosts:
    """The hosts that are answered: IP addresses, loopback names, and those that are listed; `*` lists every name."""

    def __init__(self, listed: Iterable[str] = ()) -> None:
        self._listed = frozenset(name.lower().rstrip(".") for name in listed)
        # A browser may send many names; the answer for each costs a few microseconds the first time only.
        self._is_known = lru_cache(maxsize=256)(self._look_up)

    def __contains__(self, host: bytes) -> bool:
        """Whether a value of the header Host, with or without a port, names a known host."""
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
