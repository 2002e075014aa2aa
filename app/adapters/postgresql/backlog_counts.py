"""Figures for the metrics, read now and then: how much waits for people, and what keeps dead rows in the database."""

import time
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import connect

_COUNT = text("""
    SELECT (SELECT count(*) FROM (SELECT FROM order_lines WHERE batch_number IS NULL LIMIT :limit) AS lines),
           (SELECT count(*) FROM (SELECT FROM dead_letters LIMIT :limit) AS letters)
""")
COUNT_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """Lines in the queues of all products, and messages in the box; each counted up to `COUNT_LIMIT`."""

    backordered_lines: float
    dead_letters: float


async def count_waiting(engine: AsyncEngine) -> Waiting:
    """Count what waits."""
    async with connect(engine) as connection:
        return Waiting(*(await connection.execute(_COUNT, {"limit": COUNT_LIMIT})).one())


# The oldest transaction that some snapshot, replication slot or prepared transaction still needs. None of these columns
# needs a right: what pg_stat_activity hides of the sessions of others is when they began and what they do.
_OLDEST = text("""
    SELECT held.xmin::text AS xmin, coalesce(age(held.xmin), 0) AS transactions,
           coalesce((SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'outbox'::regclass), 0) AS dead_rows
    FROM (SELECT) AS one_row
    LEFT JOIN LATERAL (
        SELECT xmin FROM (
            SELECT backend_xmin AS xmin FROM pg_stat_activity WHERE pid <> pg_backend_pid()
            UNION ALL SELECT backend_xid FROM pg_stat_activity WHERE pid <> pg_backend_pid()
            UNION ALL SELECT xmin FROM pg_replication_slots
            UNION ALL SELECT transaction FROM pg_prepared_xacts
        ) AS holders
        WHERE xmin IS NOT NULL ORDER BY age(xmin) DESC LIMIT 1
    ) AS held ON TRUE
""")


@dataclass(frozen=True, slots=True)
class Held:
    """What is not cleared away. `seconds`: how long the same transaction has been the oldest that is needed.

    `transactions` began since then; `dead_rows` is how many rows of the outbox are deleted and still there.
    """

    seconds: float
    transactions: float
    dead_rows: float


class SnapshotWatch:
    """Asks for the oldest transaction that is needed, and remembers since when it is the same one."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._xmin: str | None = None
        self._since = 0.0

    async def look(self) -> Held:
        """The current figures. Raises DatabaseUnavailableError."""
        async with connect(self._engine) as connection:
            found = (await connection.execute(_OLDEST)).one()
        now = time.monotonic()
        if found.xmin is None or found.xmin != self._xmin:
            self._xmin, self._since = found.xmin, now
        return Held(now - self._since, found.transactions, found.dead_rows)
