"""The relay's side of the outbox: leases of shards, reads of pending rows, and their deletion."""

import asyncio
import logging
import math
import ssl
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import NamedTuple, Self

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.cells import qualified, schema_of
from app.adapters.postgresql.connections import DriverConnections, begin, connect
from app.adapters.postgresql.connector import Connector
from app.adapters.postgresql.database_url import DatabaseUrl
from app.adapters.postgresql.errors import translated
from app.adapters.postgresql.messages import SHARDS
from app.adapters.postgresql.outbox_horizon import Horizon
from app.adapters.postgresql.pool_guard import connected_at
from app.adapters.postgresql.wake import Wake
from app.cancellation import cancel

log = logging.getLogger(__name__)

CHANNEL = "allocation_outbox"

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

_READ = """
    SELECT e.id, e.subject, e.sequence, e.message_id, e.type, e.data, e.correlation_id, e.causation_id, e.traceparent,
           e.created_at
    FROM (
        SELECT id FROM outbox WHERE shard = ANY($1::smallint[]) AND id > $2 ORDER BY id LIMIT $3
    ) AS waiting
    CROSS JOIN LATERAL (SELECT * FROM events WHERE events.id = waiting.id LIMIT 1) AS e
    ORDER BY e.id
"""
# One message, and so one transaction. Its commit does not wait for the disk: a crash that loses it only repeats events.
_DELETE = "SET LOCAL synchronous_commit = off; DELETE FROM outbox WHERE id = ANY('{{{ids}}}'::bigint[])"
# A lost signal only delays the relay, so its commit does not wait for the disk either.
_NOTIFY = f"SET LOCAL synchronous_commit = off; NOTIFY {CHANNEL}"
_COUNT = text("SELECT count(*) FROM (SELECT FROM outbox LIMIT :limit) AS some_rows")
COUNT_LIMIT = 100_000
LISTENER_TIMEOUT = 3.0
HORIZON_INTERVAL = 0.25
"""Seconds for which a settled position is reused. Until then each read passes over the rows deleted meanwhile."""
CONNECTIONS = 4
"""How many connections of the pool the relays of a process use at a time, over all cells."""


class OutboxRow(NamedTuple):
    """A committed event that is not known to be published."""

    id: int
    subject: str
    sequence: int | None
    message_id: uuid.UUID
    type: str
    data: str
    correlation_id: str
    causation_id: str
    traceparent: str | None
    created_at: datetime


class OutboxReader:
    """Distributes the shards of a cell among the running relays, by leases on the database's clock, and reads them.

    A lease only keeps two relays from sending the same rows. Order and completeness do not depend on it: a relay reads
    the rows of a shard in order and deletes only those that the broker has acknowledged. A relay that lost its lease
    without noticing can only repeat rows. Each method raises DatabaseUnavailableError.

    Readers of several cells share `turns`, which bounds how many connections they use at a time.
    """

    def __init__(self, engine: AsyncEngine, *, lease: float, turns: asyncio.Semaphore | None = None) -> None:
        self._engine = engine
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._connections = DriverConnections(engine)
        self._lease = lease
        self._owner = uuid.uuid4().hex
        self._turns = turns or asyncio.Semaphore(CONNECTIONS)
        self.schema = schema_of(engine)
        self._select_rows, self._delete_rows = qualified(_READ, self.schema), qualified(_DELETE, self.schema)
        self._horizon = Horizon(self.schema)
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
        """The id up to which every row is visible to a read that begins now.

        Raises ServerChangedError if the server is not the one of the last call.
        """
        # The turn first: `read` has one when it waits for the lock.
        async with self._turns, self._looking:
            if time.monotonic() - self._horizon.looked_at >= HORIZON_INTERVAL:
                async with self._connections.borrowed() as lent:
                    await self._horizon.look(lent.driver)
            return self._horizon.settled

    async def read(self, shards: Sequence[int], limit: int, *, after: int = 0) -> list[OutboxRow]:
        """The oldest rows of the shards, at most `limit`, in the order of publication.

        `after` is an id up to which the caller has read. Raises ServerChangedError if the server is not the one that
        the caller read from.
        """
        async with self._turns, self._connections.borrowed() as lent:
            if after and connected_at(lent.info) > self._horizon.looked_at:
                async with self._looking:
                    await self._horizon.look(lent.driver)
            return list(map(OutboxRow._make, await lent.driver.fetch(self._select_rows, shards, after, limit)))

    async def delete(self, ids: Sequence[int]) -> None:
        """Delete rows that the broker has acknowledged."""
        async with self._turns, self._connections.borrowed() as lent:
            await lent.driver.execute(self._delete_rows.format(ids=",".join(map(str, ids))))

    async def pending(self) -> int:
        """How many events of all shards are pending, counted up to `COUNT_LIMIT`."""
        async with self._turns, connect(self._reader) as connection:
            return int((await connection.execute(_COUNT, {"limit": COUNT_LIMIT})).scalar_one())


class OutboxSignal:
    """Wakes relays when events are pending: the one in this process immediately, others by NOTIFY.

    There is at most one NOTIFY in `interval` seconds, because PostgreSQL commits only one transaction with a NOTIFY at
    a time. A lost signal delays a relay by one poll interval.
    """

    def __init__(self, engine: AsyncEngine, *, interval: float = 0.05) -> None:
        self._connections = DriverConnections(engine)
        self._interval = interval
        self._notified_at = -math.inf
        self._wakes: list[Wake] = []
        self._pending: asyncio.Task[None] | None = None

    def new_wake(self) -> Wake:
        """A wake for one relay: each signal sets it."""
        self._wakes.append(Wake())
        return self._wakes[-1]

    def __call__(self) -> None:
        """Signal that events were committed."""
        self.received()
        if self._pending is None or self._pending.done():
            self._pending = asyncio.create_task(self._notify(), name="outbox-notify")

    def received(self) -> None:
        """Wake the relays of this process: another one committed events, or this one."""
        for wake in self._wakes:
            wake.set()

    async def close(self) -> None:
        """Cancel a NOTIFY that is pending."""
        if self._pending is not None:
            await cancel([self._pending])

    async def _notify(self) -> None:
        await asyncio.sleep(self._notified_at + self._interval - time.monotonic())
        self._notified_at = time.monotonic()
        try:
            async with self._connections.borrowed() as lent:
                await lent.driver.execute(_NOTIFY)
        except Exception:  # noqa: BLE001 - relays also poll
            return


class OutboxListener:
    """Listens for NOTIFY on a connection of its own. While it is lost, relays only poll."""

    def __init__(self, database_url: str, on_signal: Callable[[], None], *, tls: ssl.SSLContext | None = None) -> None:
        database = DatabaseUrl.parse(database_url)
        _, self._arguments = database.url.get_dialect()().create_connect_args(database.url)
        self._arguments["ssl"] = tls or False
        # A standby refuses LISTEN.
        self._connect = Connector(database, "read-write")
        self._on_signal = on_signal
        self._connection: asyncpg.Connection | None = None

    async def ensure(self) -> None:
        """Connect, unless connected. Raises DatabaseUnavailableError.

        A connection that only listens would not detect a server that vanished, so this method sends a statement.
        """
        if self._connection is not None and not self._connection.is_closed():
            try:
                await self._connection.execute("SELECT", timeout=LISTENER_TIMEOUT)
            except Exception:  # noqa: BLE001 - the next connection attempt reports the fault
                self._connection.terminate()
            except BaseException:
                self._connection.terminate()
                raise
            else:
                return
        with translated():
            self._connection = await self._listen()

    async def _listen(self) -> asyncpg.Connection:
        connection = await self._connect(**self._arguments, timeout=LISTENER_TIMEOUT, command_timeout=5)
        try:
            await connection.add_listener(CHANNEL, lambda *_: self._on_signal())
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def __aenter__(self) -> Self:
        """Do not connect yet: `ensure` does."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.terminate()
