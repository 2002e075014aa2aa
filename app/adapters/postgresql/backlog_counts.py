"""Figures for the metrics: backorders, holds, dead letters, and what keeps dead rows in the database."""

import time
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import connect

_COUNT = text("""
    SELECT (SELECT count(*) FROM (SELECT FROM order_lines WHERE batch_number IS NULL LIMIT :limit) AS lines),
           (SELECT count(*) FROM (SELECT FROM dead_letters LIMIT :limit) AS letters),
           (SELECT count(*) FROM (SELECT FROM order_lines WHERE held_until IS NOT NULL LIMIT :limit) AS holds),
           (SELECT greatest(0, coalesce(extract(epoch FROM statement_timestamp() - min(earliest_hold_end)), 0))::float8
            FROM products WHERE earliest_hold_end IS NOT NULL)
""")
COUNT_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class BacklogCounts:
    """Backorders of all products, dead letters, and held lines; each counted up to `COUNT_LIMIT`.

    `overdue_hold_age` is the time in seconds since the oldest hold that has not been ended was over; 0: there is none.
    Until the product is swept, a hold that was confirmed before its end counts as well.
    """

    backordered_lines: float
    dead_letters: float
    held_lines: float
    overdue_hold_age: float


async def count_backlog(engine: AsyncEngine) -> BacklogCounts:
    """Count what waits. Raises DatabaseUnavailableError."""
    async with connect(engine) as connection:
        return BacklogCounts(*(await connection.execute(_COUNT, {"limit": COUNT_LIMIT})).one())


# The oldest transaction that a snapshot, replication slot or prepared transaction still needs. These columns need no
# privilege: pg_stat_activity hides only the start times and statements of other users' sessions.
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
    """What keeps vacuum from removing rows. `seconds`: how long the same transaction has been the oldest one needed.

    `transactions` is how many began since then, `dead_rows` how many deleted rows of the outbox still take space.
    """

    seconds: float
    transactions: float
    dead_rows: float


class SnapshotWatch:
    """Measures for how long the oldest transaction that is needed has been the same."""

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
