"""Figures for the metrics: backorders, holds, dead letters, and what keeps dead rows in the database."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import connect
from app.adapters.postgresql.fan_out import in_each

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


async def count_backlog(engines: Sequence[AsyncEngine]) -> BacklogCounts:
    """Count what waits in all schemas. Raises DatabaseUnavailableError."""
    found = await in_each(engines, _count)
    return BacklogCounts(
        min(sum(each.backordered_lines for each in found), COUNT_LIMIT),
        min(sum(each.dead_letters for each in found), COUNT_LIMIT),
        min(sum(each.held_lines for each in found), COUNT_LIMIT),
        max(each.overdue_hold_age for each in found),
    )


async def _count(engine: AsyncEngine) -> BacklogCounts:
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
    """Measures for how long the oldest transaction that is needed has been the same, for each of the schemas.

    Their servers may differ. The result is the largest of all, and the sum of the dead rows.
    """

    def __init__(self, engines: Sequence[AsyncEngine]) -> None:
        self._engines = engines
        self._known: dict[AsyncEngine, tuple[str | None, float]] = {}

    async def look(self) -> Held:
        """The current figures. Raises DatabaseUnavailableError."""
        seconds, transactions, dead_rows = zip(*await in_each(self._engines, self._look), strict=True)
        return Held(max(seconds), max(transactions), sum(dead_rows))

    async def _look(self, engine: AsyncEngine) -> tuple[float, float, float]:
        async with connect(engine) as connection:
            found = (await connection.execute(_OLDEST)).one()
        now = time.monotonic()
        xmin, since = self._known.get(engine, (None, 0.0))
        if found.xmin is None or found.xmin != xmin:
            since = now
            self._known[engine] = found.xmin, since
        return now - since, found.transactions, found.dead_rows
