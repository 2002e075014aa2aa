"""The URL of a database, which may name several servers: `postgresql+asyncpg://user:password@host1:5432,host2:5432/db`.

SQLAlchemy accepts only one server there. All code that connects or decides on TLS parses the URL here, so that it sees
the same servers.
"""

import re
from dataclasses import dataclass
from typing import Literal, Self, cast, get_args

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

DEFAULT_PORT = 5432
LARGEST_PORT = 65_535
TARGET = "target_session_attrs"

Target = Literal["any", "primary", "standby", "prefer-standby", "read-write", "read-only"]
"""The role that a server must have.

Source: https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS
"""

_URL = re.compile(r"(?P<before>[\w+]+://(?:[^/?#]*@)?)(?P<servers>[^@/?#]*)(?P<after>.*)", re.DOTALL)
_SERVER = re.compile(r"(?P<host>[^\s,:@/?#\[\]%]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Server:
    """The address of one server. An IPv6 address has no brackets here."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A parsed URL. `url` has the first server only and no target, for SQLAlchemy."""

    url: URL
    servers: tuple[Server, ...]
    target: Target | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text. Raises ValueError, whose message does not contain the text: it may have a password."""
        parts = _URL.fullmatch(text)
        if parts is None:
            message = "should be a URL"
            raise ValueError(message)
        written = parts["servers"].split(",")
        servers = tuple(map(_read_server, written))
        try:
            url = make_url(f"{parts['before']}{written[0]}{parts['after']}")
        except ArgumentError:
            url = None
        # If the two parsers differed, TLS could be decided for a server other than the one that is connected to.
        if url is None or url.host != servers[0].host:
            message = "should be a URL that names the host"
            raise ValueError(message)
        target = url.query.get(TARGET)
        if target is not None and target not in get_args(Target):
            message = f"should have one of {', '.join(get_args(Target))} as {TARGET}"
            raise ValueError(message)
        return cls(url.difference_update_query([TARGET]), servers, cast("Target | None", target))

    def at(self, server: Server) -> str:
        """The URL of the same database on this server, with the password."""
        return self.url.set(host=server.host, port=server.port).render_as_string(hide_password=False)

    @property
    def place(self) -> str:
        """The servers and the database, without user and password."""
        return f"{','.join(map(str, self.servers))}/{self.url.database}"


def _read_server(text: str) -> Server:
    parts = _SERVER.fullmatch(text)
    port = DEFAULT_PORT if parts is None or parts["port"] is None else int(parts["port"])
    if parts is None or not 0 < port <= LARGEST_PORT:
        message = "should name the host, or several as host1:5432,host2:5432"
        raise ValueError(message)
    return Server(parts["host"].strip("[]"), port)
