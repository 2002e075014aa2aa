"""The relay's side of the outbox: leases of shards, reads of pending rows, and their deletion."""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.cells import qualified, schema_of
from app.adapters.postgresql.connections import DriverConnections, begin, connect
from app.adapters.postgresql.messages import SHARDS
from app.adapters.postgresql.outbox_horizon import Horizon
from app.adapters.postgresql.outbox_order import OutboxOrder, in_sequence
from app.adapters.postgresql.outbox_rows import READ, OutboxPage, OutboxRow
from app.adapters.postgresql.pool_guard import connected_at

log = logging.getLogger(__name__)

# The clock is read where rows are selected, and the rows are changed by their keys and by times that were read: so no
# change depends on a volatile function.
_UPSERT_MEMBER = text("""
    INSERT INTO relay_members (owner, alive_until)
    VALUES (:owner, clock_timestamp() + make_interval(secs => :lease))
    ON CONFLICT (owner) DO UPDATE SET alive_until = excluded.alive_until RETURNING alive_until
""")
# A row that is locked is being renewed. Relays that waited for each other's rows here would be in a deadlock.
_EXPIRED_MEMBERS = text("""
    SELECT owner FROM relay_members
    WHERE alive_until < clock_timestamp() OR alive_until > clock_timestamp() + make_interval(secs => :lease)
    FOR UPDATE SKIP LOCKED
""")
_DELETE_MEMBERS = text("DELETE FROM relay_members WHERE owner = ANY(CAST(:owners AS text[]))")
# A lease that ends later than one that begins now was taken before the clock was set back. All relays have leases of
# the same length. While the setting is being changed, a relay may lose its shards to another, which repeats events.
_FUTURE_LEASES = text("""
    SELECT shard FROM relay_shards
    WHERE owner <> :owner AND leased_until > clock_timestamp() + make_interval(secs => :lease)
    FOR UPDATE SKIP LOCKED
""")
_END_LEASES = text("""
    UPDATE relay_shards SET owner = NULL, leased_until = '-infinity' WHERE shard = ANY(CAST(:shards AS smallint[]))
""")
_COUNT_MEMBERS = text("SELECT count(*) FROM relay_members")
_RENEW = text("""
    UPDATE relay_shards SET leased_until = :until WHERE owner = :owner AND leased_until > :now RETURNING shard
""")
_CLAIM = text("""
    UPDATE relay_shards SET owner = :owner, leased_until = :until
    WHERE shard IN (
        SELECT shard FROM relay_shards WHERE leased_until <= :now ORDER BY shard LIMIT :wanted FOR UPDATE SKIP LOCKED
    ) RETURNING shard
""")
_RELEASE = text("""
    UPDATE relay_shards SET owner = NULL, leased_until = '-infinity'
    WHERE owner = :owner AND shard = ANY(CAST(:shards AS smallint[]))
""")
_DELETE_MEMBER = text("DELETE FROM relay_members WHERE owner = :owner")

# One message, and so one transaction. Its commit does not wait for the disk: a crash that loses it only repeats events.
_DELETE = "SET LOCAL synchronous_commit = off; DELETE FROM outbox WHERE id = ANY('{{{ids}}}'::bigint[])"
_COUNT = text("SELECT count(*) FROM (SELECT FROM outbox LIMIT :limit) AS some_rows")
COUNT_LIMIT = 100_000
HORIZON_INTERVAL = 0.25
"""Seconds for which a settled position is reused. Until then each read passes over the rows deleted meanwhile."""
CONNECTIONS = 4
"""How many connections of the pool the relays of a process use at a time, over all cells."""


class OutboxReader:
    """Distributes the shards of a cell among the running relays, by leases on the database's clock, and reads them.

    A lease only keeps two relays from sending the same rows. Order and completeness do not depend on it: a relay reads
    the rows of a shard in order and deletes only those that the broker has acknowledged. A relay that lost its lease
    without noticing can only repeat rows. Each method raises DatabaseUnavailableError.

    Readers of several cells share `turns`, which bounds how many connections they use at a time. With several cells the
    order does not follow from the ids (see `OutboxOrder`), so there is no position behind which a caller may read.
    """

    def __init__(self, engine: AsyncEngine, *, lease: float, turns: asyncio.Semaphore | None = None) -> None:
        self._engine = engine
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._connections = DriverConnections(engine)
        self._lease = lease
        self._owner = uuid.uuid4().hex
        self._turns = turns or asyncio.Semaphore(CONNECTIONS)
        self.schema = schema_of(engine)
        self._select_rows, self._delete_rows = qualified(READ, self.schema), qualified(_DELETE, self.schema)
        self._order = OutboxOrder(self.schema)
        self._horizon = Horizon()
        self._looking = asyncio.Lock()

    async def claim(self) -> list[int]:
        """Renew our leases, and release or claim shards until each relay has its share. Returns our shards."""
        async with self._turns, begin(self._engine) as connection:
            own = {"owner": self._owner, "lease": self._lease}
            # Our own row first: after this statement no row of a member is waited for.
            until = (await connection.execute(_UPSERT_MEMBER, own)).scalar_one()
            lease = {"owner": self._owner, "until": until, "now": until - timedelta(seconds=self._lease)}
            expired = (await connection.execute(_EXPIRED_MEMBERS, {"lease": self._lease})).scalars().all()
            if expired:
                await connection.execute(_DELETE_MEMBERS, {"owners": expired})
            ended = (await connection.execute(_FUTURE_LEASES, own)).scalars().all()
            if ended:
                await connection.execute(_END_LEASES, {"shards": ended})
                log.warning("leases of %d shards end too late: the clock of the database was set back", len(ended))
            alive = (await connection.execute(_COUNT_MEMBERS)).scalar_one()
            share = -(-SHARDS // alive)
            held = sorted((await connection.execute(_RENEW, lease)).scalars())
            if len(held) > share:
                await connection.execute(_RELEASE, {"owner": self._owner, "shards": held[share:]})
            elif len(held) < share:
                held += (await connection.execute(_CLAIM, {**lease, "wanted": share - len(held)})).scalars()
            return held[:share]

    async def leave(self) -> None:
        """Release all shards, so that other relays need not wait for the leases to end."""
        async with self._turns, begin(self._engine) as connection:
            await connection.execute(_RELEASE, {"owner": self._owner, "shards": list(range(SHARDS))})
            await connection.execute(_DELETE_MEMBER, {"owner": self._owner})

    async def settled(self) -> int:
        """The id up to which every row is visible to a read that begins now; 0 with several cells.

        Raises ServerChangedError if the server is not the one of the last call.
        """
        if self.schema is not None:
            return 0
        # The turn first: `read` has one when it waits for the lock.
        async with self._turns, self._looking:
            if time.monotonic() - self._horizon.looked_at >= HORIZON_INTERVAL:
                async with self._connections.borrowed() as lent:
                    await self._horizon.look(lent.driver)
            return self._horizon.settled

    async def read(self, shards: Sequence[int], limit: int, *, after: int = 0, continues: bool = False) -> OutboxPage:
        """The rows of the shards with the smallest ids, at most `limit`, in the order of publication.

        `after` is an id up to which the caller has read: a settled one, or if the page `continues` others, the last of
        the page before. Then events may have been committed between the pages, some with smaller ids than that.
        Raises ServerChangedError if the server is not the one that the caller read from.
        """
        async with self._turns, self._connections.borrowed() as lent:
            if self.schema is None and after and connected_at(lent.info) > self._horizon.looked_at:
                async with self._looking:
                    await self._horizon.look(lent.driver)
            rows: Sequence[OutboxRow] = [
                OutboxRow(*row) for row in await lent.driver.fetch(self._select_rows, shards, after, limit)
            ]
            reached = rows[-1].id if len(rows) == limit else math.inf
            if continues or (self.schema is not None and (after or reached < math.inf)):
                rows = await self._order.complete(lent.driver, rows, limit)
            elif self.schema is not None:
                rows = in_sequence(rows)
            return OutboxPage(rows, reached)

    async def delete(self, ids: Sequence[int]) -> None:
        """Delete rows that the broker has acknowledged."""
        async with self._turns, self._connections.borrowed() as lent:
            await lent.driver.execute(self._delete_rows.format(ids=",".join(map(str, ids))))

    async def pending(self) -> int:
        """How many events of all shards are pending, counted up to `COUNT_LIMIT`."""
        async with self._turns, connect(self._reader) as connection:
            return int((await connection.execute(_COUNT, {"limit": COUNT_LIMIT})).scalar_one())
