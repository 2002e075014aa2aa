"""Up to which id the outbox is settled: no event with a smaller id can still become visible.

An id is drawn inside a transaction, so a transaction that drew its ids early can commit after others that drew theirs
later. A transaction that draws an id of `events` has locked the table (ROW EXCLUSIVE, until the end of the transaction)
before it draws the id. So once every transaction has ended that held this lock while an event was visible, no smaller
id than that event's can appear any more. CREATE INDEX CONCURRENTLY waits in the same way for transactions that may
not know its index.
"""

import math
import time
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# One statement: its snapshot, and so `last_id`, is older than the look at the locks. `last_id` is that of a committed
# event, so a crash cannot give it, or a smaller one, again. The relation is named by its oid: pg_locks shows the locks
# of all databases.
_LOOK = text("""
    SELECT coalesce((SELECT max(id) FROM events), 0) AS last_id,
           coalesce(array_agg(virtualtransaction), '{}') AS writers,
           count(*) FILTER (WHERE pid IS NULL) AS prepared,
           pg_postmaster_start_time()::text AS server
    FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND relation = 'events'::regclass
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")


class ServerChangedError(Exception):
    """Another server answers than before, which may lack what was seen on the first: nothing is settled."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """An event that was visible, and the transactions that might still have had smaller ids at that moment."""

    last_id: int
    writers: frozenset[str]


class Horizon:
    """Follows the events as they settle. Not to be asked by two tasks at once: what they see has an order."""

    def __init__(self) -> None:
        self.settled = 0
        self.looked_at = -math.inf
        self._mark: _Mark | None = None
        self._server: str | None = None

    async def look(self, connection: AsyncConnection) -> None:
        """Bring `settled` up to date. Raises ServerChangedError.

        A prepared transaction has another name among the locks than it had before it was prepared. So nothing
        settles while one of them holds the lock.
        """
        looked_at = time.monotonic()
        found = (await connection.execute(_LOOK)).one()
        if self._server not in {None, found.server}:
            self.settled, self._mark, self._server = 0, None, found.server
            raise ServerChangedError("the database server has changed or was restarted")
        self.looked_at, self._server = looked_at, found.server
        writers = frozenset(found.writers)
        if found.prepared:
            return
        if self._mark is None or not self._mark.writers & writers:
            if self._mark is not None:
                self.settled = max(self.settled, self._mark.last_id)
            self._mark = _Mark(found.last_id, writers)
        if not writers:
            self.settled = max(self.settled, found.last_id)
