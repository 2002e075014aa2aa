"""Opens connections to a database with several servers, of which one accepts writes."""

from collections.abc import Iterator
from typing import Any

import asyncpg
from asyncpg.exceptions import TargetServerAttributeNotMatched

from app.adapters.postgresql.database_url import DatabaseUrl, Server, Target
from app.adapters.postgresql.errors import WrongServerError
from app.observability import metrics

_WRITABLE = frozenset({"read-write", "primary"})
_REFUSALS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Connector:
    """Connects to the first server that has the required role, beginning with the one of the last connection.

    asyncpg accepts several hosts too, but applies one timeout to all of them: a first host that drops packets would
    use up the time of the others. It also stops at the first host that refuses for another reason than its role.
    """

    def __init__(self, database: DatabaseUrl, target: Target) -> None:
        """`target` applies where the URL does not name one itself."""
        self._servers = list(database.servers)
        self._target = database.target or target

    async def __call__(self, *, timeout: float, **arguments: Any) -> asyncpg.Connection:  # noqa: ASYNC109 - the driver's signature
        """Connect within `timeout` seconds, with the other arguments of `asyncpg.connect`.

        Raises WrongServerError, or what the driver raised for the first server where none was reached.
        """
        attempts = list(self._attempts())
        failures: list[tuple[Server, Exception]] = []
        for server, target in attempts:
            where = {"host": server.host, "port": server.port, "target_session_attrs": target}
            try:
                connection = await asyncpg.connect(**arguments | where, timeout=timeout / len(attempts))
            except _REFUSALS as error:
                failures.append((server, error))
                continue
            self._servers.remove(server)
            self._servers.insert(0, server)
            return connection
        raise self._explain(failures)

    def _attempts(self) -> Iterator[tuple[Server, Target]]:
        targets: tuple[Target, ...] = ("standby", "any") if self._target == "prefer-standby" else (self._target,)
        for target in targets:
            for server in list(self._servers):
                yield server, target

    def _explain(self, failures: list[tuple[Server, Exception]]) -> Exception:
        if not any(isinstance(error, TargetServerAttributeNotMatched) for _, error in failures):
            return failures[0][1]
        lacking = f"is not {self._target}"
        if self._target in _WRITABLE:
            lacking = "takes no writes"
            metrics.read_only_refusals.inc()
        reasons = [
            f"{server} {lacking if isinstance(error, TargetServerAttributeNotMatched) else f'failed ({error!r})'}"
            for server, error in failures
        ]
        return WrongServerError("; ".join(reasons))
