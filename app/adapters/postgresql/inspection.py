"""The state of the database server and the backlog of the service, for operators."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import connect
from app.adapters.postgresql.errors import WrongServerError
from app.adapters.postgresql.fan_out import in_each
from app.adapters.postgresql.pool_guard import PoolGuard
from app.observability import metrics

_SERVER = text("""
    SELECT current_setting('server_version') AS version,
           current_setting('fsync')::boolean AS fsync,
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               AS connections
""")
_IS_READ_ONLY = text("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean")
_CLOCK = text("SELECT extract(epoch FROM clock_timestamp())::double precision")
_CURRENT_WAL = text("SELECT pg_current_wal_lsn()::text")
# A server that is not a hot standby replays nothing, so its lag is unknown.
_REPLAYED = text("""
    SELECT NOT pg_is_in_recovery() OR coalesce(pg_last_wal_replay_lsn() >= CAST(CAST(:place AS text) AS pg_lsn), false)
""")
_BACKLOG = text("""
    SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT :limit) AS waiting) AS pending,
           (SELECT extract(epoch FROM clock_timestamp() - created_at)::double precision
            FROM events WHERE id = (SELECT min(id) FROM outbox)) AS oldest_seconds,
           (SELECT count(*) FROM (SELECT FROM dead_letters LIMIT :limit) AS kept) AS dead_letters,
           (SELECT count(*) FROM (SELECT FROM order_lines WHERE held_until IS NOT NULL LIMIT :limit) AS holds)
               AS held_lines
""")
# The first event of each subject among the oldest ones: events of other subjects do not stay there.
_FIRST_EVENTS = text("""
    SELECT DISTINCT ON (e.subject) e.id, e.subject, octet_length(e.data) AS size,
           extract(epoch FROM clock_timestamp() - e.created_at)::double precision AS age
    FROM (SELECT id FROM outbox ORDER BY id LIMIT :limit) AS waiting
    CROSS JOIN LATERAL (SELECT * FROM events WHERE events.id = waiting.id LIMIT 1) AS e
    ORDER BY e.subject, e.id
""")

POLL_INTERVAL = 0.1
EVENTS_LIMIT = 2000
COUNT_LIMIT = 100_000
"""Counting stops here, because the count itself would become a load."""


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server. `connections` is its limit, `ahead` the seconds by which its clock is ahead of ours."""

    version: str
    connections: int
    fsync: bool
    ahead: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events that are not published yet, the age of the oldest in seconds, dead letters, and held lines."""

    pending: int
    oldest_seconds: float | None
    dead_letters: int
    held_lines: int


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """The first unpublished event of a subject: the bytes of its data, and its age in seconds."""

    id: int
    subject: str
    size: int
    age: float


async def first_events(engines: Sequence[AsyncEngine]) -> list[WaitingEvent]:
    """The first of each subject's unpublished events, those of each cell by id. Raises DatabaseUnavailableError."""
    return [event for events in await in_each(engines, _first_events) for event in events]


async def _first_events(engine: AsyncEngine) -> list[WaitingEvent]:
    async with connect(engine) as connection:
        found = [WaitingEvent(*row) for row in await connection.execute(_FIRST_EVENTS, {"limit": EVENTS_LIMIT})]
    return sorted(found, key=lambda event: event.id)


async def server_of(engine: AsyncEngine) -> Server:
    """The facts of the server. Raises DatabaseUnavailableError."""
    async with connect(engine) as connection:
        facts = (await connection.execute(_SERVER)).one()
        began = time.time()
        its_time = (await connection.execute(_CLOCK)).scalar_one()
        # The server read its clock between the request and the response.
        ours = (began + time.time()) / 2
    return Server(facts.version, facts.connections, facts.fsync, float(its_time) - ours)


async def check_writable(engine: AsyncEngine) -> None:
    """Raise DatabaseUnavailableError where the database is away or would refuse a write (WRONG_SERVER).

    A pooled connection is checked too: its server may have become read-only since it was opened. The next check then
    connects to another server.
    """
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with connect(autocommit) as connection:
        if (await connection.execute(_IS_READ_ONLY)).scalar_one():
            metrics.read_only_refusals.inc()
            PoolGuard.of(engine).invalidate_idle()
            raise WrongServerError("the server takes no writes")


async def keeps_up(replica: AsyncEngine, primary: AsyncEngine, *, seconds: float) -> bool:
    """Whether the replica has replayed the primary's current WAL within the time. Raises DatabaseUnavailableError."""
    async with connect(primary) as connection:
        place = (await connection.execute(_CURRENT_WAL)).scalar_one()
    deadline = time.monotonic() + seconds
    async with connect(replica) as connection:
        while not (await connection.execute(_REPLAYED, {"place": place})).scalar_one():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(POLL_INTERVAL)
    return True


async def backlog_of(engines: Sequence[AsyncEngine]) -> Backlog:
    """The backlog of all schemas together. Raises DatabaseUnavailableError."""
    found = await in_each(engines, _backlog_of)
    ages = [each.oldest_seconds for each in found if each.oldest_seconds is not None]
    return Backlog(
        pending=sum(each.pending for each in found),
        oldest_seconds=max(ages, default=None),
        dead_letters=sum(each.dead_letters for each in found),
        held_lines=sum(each.held_lines for each in found),
    )


async def _backlog_of(engine: AsyncEngine) -> Backlog:
    async with connect(engine) as connection:
        found = (await connection.execute(_BACKLOG, {"limit": COUNT_LIMIT})).one()
    return Backlog(found.pending, found.oldest_seconds, found.dead_letters, found.held_lines)
