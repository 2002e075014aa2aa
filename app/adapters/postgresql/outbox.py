"""The relay's side of the outbox: which shards are ours, what waits in them, what has been published."""

import asyncio
import logging
import ssl
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import NamedTuple, Self

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import begin, connect
from app.adapters.postgresql.connector import Connector
from app.adapters.postgresql.database_url import DatabaseUrl
from app.adapters.postgresql.errors import translated
from app.adapters.postgresql.messages import SHARDS
from app.adapters.postgresql.outbox_horizon import Horizon
from app.adapters.postgresql.pool_guard import connected_at
from app.cancellation import cancel

log = logging.getLogger(__name__)

CHANNEL = "allocation_outbox"

_ALIVE = text("""
    INSERT INTO relay_members (owner, alive_until)
    VALUES (:owner, clock_timestamp() + make_interval(secs => :lease))
    ON CONFLICT (owner) DO UPDATE SET alive_until = excluded.alive_until
""")
_FORGET_THE_DEAD = text("""
    DELETE FROM relay_members
    WHERE alive_until < clock_timestamp() OR alive_until > clock_timestamp() + make_interval(secs => :lease)
""")
# A lease that ends later than one that begins now was given before the clock was set back. All relays have leases of
# the same length; where the setting is being changed, a relay may lose its shards to another, which repeats events.
_END_IMPOSSIBLE = text("""
    UPDATE relay_shards SET owner = NULL, leased_until = '-infinity'
    WHERE shard IN (
        SELECT shard FROM relay_shards
        WHERE owner <> :owner AND leased_until > clock_timestamp() + make_interval(secs => :lease)
        FOR UPDATE SKIP LOCKED
    ) RETURNING shard
""")
_COUNT_ALIVE = text("SELECT count(*) FROM relay_members")
_RENEW = text("""
    UPDATE relay_shards SET leased_until = clock_timestamp() + make_interval(secs => :lease)
    WHERE owner = :owner AND leased_until > clock_timestamp() RETURNING shard
""")
_CLAIM = text("""
    UPDATE relay_shards SET owner = :owner, leased_until = clock_timestamp() + make_interval(secs => :lease)
    WHERE shard IN (
        SELECT shard FROM relay_shards WHERE leased_until <= clock_timestamp()
        ORDER BY shard LIMIT :wanted FOR UPDATE SKIP LOCKED
    ) RETURNING shard
""")
_RELEASE = text("""
    UPDATE relay_shards SET owner = NULL, leased_until = '-infinity'
    WHERE owner = :owner AND shard = ANY(CAST(:shards AS smallint[]))
""")
_LEAVE = text("DELETE FROM relay_members WHERE owner = :owner")

_READ = text("""
    SELECT e.id, e.subject, e.sequence, e.message_id, e.type, e.data, e.correlation_id, e.causation_id, e.traceparent,
           e.created_at
    FROM (
        SELECT id FROM outbox WHERE shard = ANY(CAST(:shards AS smallint[])) AND id > :after ORDER BY id LIMIT :limit
    ) AS waiting
    CROSS JOIN LATERAL (SELECT * FROM events WHERE events.id = waiting.id LIMIT 1) AS e
    ORDER BY e.id
""")
_DELETE = text("DELETE FROM outbox WHERE id = ANY(CAST(:ids AS bigint[]))")
_COUNT = text("SELECT count(*) FROM (SELECT FROM outbox LIMIT :limit) AS some_rows")
COUNT_LIMIT = 100_000
LISTENER_TIMEOUT = 3.0
HORIZON_INTERVAL = 0.25
"""Seconds for which a horizon serves. What is published meanwhile is walked over by each read, dead as it is."""


class OutboxRow(NamedTuple):
    """A committed event that has not been published, as far as is known."""

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
    """Shares out the shards among the relays that are alive, by leases on the database's clock, and reads them.

    A lease only keeps two relays from sending the same rows. Order and completeness do not depend on it: a relay reads
    the rows of a shard in their order and deletes only what the broker has acknowledged, so one that has lost its lease
    without noticing can send rows again, and nothing else.
    """

    def __init__(self, engine: AsyncEngine, *, lease: float) -> None:
        self._engine = engine
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._lease = lease
        self._owner = uuid.uuid4().hex
        self._horizon = Horizon()
        self._looking = asyncio.Lock()

    async def claim(self) -> list[int]:
        """Renew our leases, and give or take shards until each relay has its share; returns our shards."""
        async with begin(self._engine) as connection:
            own = {"owner": self._owner, "lease": self._lease}
            await connection.execute(_FORGET_THE_DEAD, {"lease": self._lease})
            await connection.execute(_ALIVE, own)
            ended = (await connection.execute(_END_IMPOSSIBLE, own)).scalars().all()
            if ended:
                log.warning("leases of %d shards end too late: the clock of the database was set back", len(ended))
            alive = (await connection.execute(_COUNT_ALIVE)).scalar_one()
            share = -(-SHARDS // alive)
            held = sorted((await connection.execute(_RENEW, own)).scalars())
            if len(held) > share:
                await connection.execute(_RELEASE, {"owner": self._owner, "shards": held[share:]})
            elif len(held) < share:
                held += (await connection.execute(_CLAIM, {**own, "wanted": share - len(held)})).scalars()
            return held[:share]

    async def leave(self) -> None:
        """Give all shards back, so that the others need not wait for the leases to end."""
        async with begin(self._engine) as connection:
            await connection.execute(_RELEASE, {"owner": self._owner, "shards": list(range(SHARDS))})
            await connection.execute(_LEAVE, {"owner": self._owner})

    async def settled(self) -> int:
        """The id up to which no row can appear that a read from now on would not see.

        Raises ServerChangedError where the server is not the one that answered before.
        """
        async with self._looking:
            if time.monotonic() - self._horizon.looked_at >= HORIZON_INTERVAL:
                async with connect(self._reader) as connection:
                    await self._horizon.look(connection)
            return self._horizon.settled

    async def read(self, shards: Sequence[int], limit: int, *, after: int = 0) -> list[OutboxRow]:
        """The oldest rows of the shards, at most `limit`, in the order in which they are to be published.

        `after` is an id up to which the caller knows what there is. Raises ServerChangedError where the server is not
        the one that the caller knows it from.
        """
        async with connect(self._reader) as connection:
            if after and connected_at(connection.info) > self._horizon.looked_at:
                async with self._looking:
                    await self._horizon.look(connection)
            rows = await connection.execute(_READ, {"shards": list(shards), "limit": limit, "after": after})
            return [OutboxRow(*row) for row in rows]

    async def delete(self, ids: Sequence[int]) -> None:
        """Forget rows that the broker has acknowledged."""
        async with begin(self._engine) as connection:
            await connection.execute(_DELETE, {"ids": list(ids)})

    async def pending(self) -> int:
        """How many events wait to be published, over all shards; counted up to `COUNT_LIMIT`."""
        async with connect(self._reader) as connection:
            return int((await connection.execute(_COUNT, {"limit": COUNT_LIMIT})).scalar_one())


class OutboxSignal:
    """Tells relays that there is something to publish: the one in this process at once, others by NOTIFY.

    NOTIFY is debounced, because PostgreSQL lets only one transaction that notifies commit at a time. A signal that is
    lost costs a relay one poll interval.
    """

    def __init__(self, engine: AsyncEngine, *, debounce: float = 0.02) -> None:
        self._engine = engine
        self._debounce = debounce
        self._local = asyncio.Event()
        self._pending: asyncio.Task[None] | None = None

    def __call__(self) -> None:
        """Something was committed."""
        self._local.set()
        if self._pending is None or self._pending.done():
            self._pending = asyncio.create_task(self._notify(), name="outbox-notify")

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 - running out of time is the other normal outcome
        """Wait for a signal, at most `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._local.wait()
        except TimeoutError:
            return
        finally:
            self._local.clear()

    def received(self) -> None:
        """Another process has committed something."""
        self._local.set()

    async def close(self) -> None:
        """Forget a signal that has not been passed on."""
        if self._pending is not None:
            await cancel([self._pending])

    async def _notify(self) -> None:
        await asyncio.sleep(self._debounce)
        try:
            async with begin(self._engine) as connection:
                await connection.execute(text(f"NOTIFY {CHANNEL}"))
        except Exception:  # noqa: BLE001 - a signal is a courtesy; the poll is the promise
            return


class OutboxListener:
    """A connection of its own that listens for NOTIFY and passes it on. Losing it costs speed, nothing else."""

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

        One that only listens would never find out that its server is gone where nobody tells it, so it asks.
        """
        if self._connection is not None and not self._connection.is_closed():
            try:
                await self._connection.execute("SELECT", timeout=LISTENER_TIMEOUT)
            except Exception:  # noqa: BLE001 - another connection is made, and that one may fail
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
        """Nothing is connected yet: the relay does that as it goes."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.terminate()
