"""What the database says of itself, and how much of the service's work waits in it; for those who look after it."""

import asyncio
import time
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

_SERVER = text("""
    SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS is_replica,
           current_setting('fsync')::boolean AS fsync,
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               AS connections
""")
_CLOCK = text("SELECT extract(epoch FROM clock_timestamp())::double precision")
_WRITTEN = text("SELECT pg_current_wal_lsn()::text")
# Whoever is no hot standby replays nothing, and how it is kept up is not known here.
_REPLAYED = text("""
    SELECT NOT pg_is_in_recovery() OR coalesce(pg_last_wal_replay_lsn() >= CAST(CAST(:place AS text) AS pg_lsn), false)
""")
_BACKLOG = text("""
    SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT :limit) AS waiting) AS pending,
           (SELECT extract(epoch FROM clock_timestamp() - created_at)::double precision
            FROM events WHERE id = (SELECT min(id) FROM outbox)) AS oldest_seconds,
           (SELECT count(*) FROM (SELECT FROM dead_letters LIMIT :limit) AS kept) AS dead_letters
""")

POLL_INTERVAL = 0.1
COUNT_LIMIT = 100_000
"""Nothing is counted beyond that: the count itself would become a load."""


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server; `connections` is how many it allows in all, `ahead` how many seconds its clock is."""

    version: str
    is_replica: bool
    connections: int
    fsync: bool
    ahead: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events that are not published yet, the age of the oldest in seconds, and letters that nobody has dealt with."""

    pending: int
    oldest_seconds: float | None
    dead_letters: int


async def server_of(engine: AsyncEngine) -> Server:
    """Ask the server. Raises what the database raises."""
    async with engine.connect() as connection:
        facts = (await connection.execute(_SERVER)).one()
        asked = time.time()
        its_time = (await connection.execute(_CLOCK)).scalar_one()
        # It looked at its clock somewhere between the question and the answer.
        ours = (asked + time.time()) / 2
    return Server(facts.version, facts.is_replica, facts.connections, facts.fsync, float(its_time) - ours)


async def keeps_up(replica: AsyncEngine, primary: AsyncEngine, *, seconds: float) -> bool:
    """Whether the replica has within so many seconds what the primary has now. Raises what a database raises."""
    async with primary.connect() as connection:
        place = (await connection.execute(_WRITTEN)).scalar_one()
    deadline = time.monotonic() + seconds
    async with replica.connect() as connection:
        while not (await connection.execute(_REPLAYED, {"place": place})).scalar_one():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(POLL_INTERVAL)
    return True


async def backlog_of(engine: AsyncEngine) -> Backlog:
    """What waits. Raises what the database raises."""
    async with engine.connect() as connection:
        found = (await connection.execute(_BACKLOG, {"limit": COUNT_LIMIT})).one()
    return Backlog(found.pending, found.oldest_seconds, found.dead_letters)
