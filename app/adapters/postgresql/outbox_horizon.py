"""The settled position of the outbox: no event with a smaller id can become visible any more.

An id is drawn inside a transaction, so a transaction that drew its ids early can commit after others that drew theirs
later. A transaction that draws ids of `events` has locked the table and the sequence (ROW EXCLUSIVE, until the end of
the transaction) before it draws them. So once every transaction has ended that held such a lock while an event was
visible, no smaller id than that event's can appear any more. CREATE INDEX CONCURRENTLY waits in the same way for
transactions that may not know its index.
"""

import math
import time
from dataclasses import dataclass

import asyncpg

# One statement: its snapshot, and so `last_id`, is older than its read of the locks. `last_id` is that of a committed
# event, so neither it nor a smaller id can be assigned again after a crash. The relations are named by their oids,
# because pg_locks shows the locks of all databases.
_LOOK = """
    SELECT coalesce((SELECT max(id) FROM events), 0) AS last_id,
           coalesce(array_agg(DISTINCT virtualtransaction), '{}') AS writers,
           count(*) FILTER (WHERE pid IS NULL) AS prepared,
           pg_postmaster_start_time()::text AS server
    FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted
      AND relation IN ('events'::regclass, 'events_id_seq'::regclass)
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class ServerChangedError(Exception):
    """The server is another one than before, and may lack events that were seen on the first: nothing is settled."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A visible event, and the transactions that might have drawn smaller ids at that moment."""

    last_id: int
    writers: frozenset[str]


class Horizon:
    """Computes the settled position of the events of a database with one cell.

    Only one task at a time may call `look`, because its observations are ordered.
    """

    def __init__(self) -> None:
        self.settled = 0
        self.looked_at = -math.inf
        self._mark: _Mark | None = None
        self._server: str | None = None

    async def look(self, connection: asyncpg.Connection) -> None:
        """Update `settled`. Raises ServerChangedError.

        The locks of a transaction change their owner's name when it is prepared. So nothing settles while a prepared
        transaction holds the lock.
        """
        looked_at = time.monotonic()
        found = await connection.fetchrow(_LOOK)
        if self._server not in {None, found["server"]}:
            self.settled, self._mark, self._server = 0, None, found["server"]
            raise ServerChangedError("the database server has changed or was restarted")
        self.looked_at, self._server = looked_at, found["server"]
        writers = frozenset(found["writers"])
        if found["prepared"]:
            return
        if self._mark is None or not self._mark.writers & writers:
            if self._mark is not None:
                self.settled = max(self.settled, self._mark.last_id)
            self._mark = _Mark(found["last_id"], writers)
        if not writers:
            self.settled = max(self.settled, found["last_id"])
