"""A relay that publishes events of the outbox to a broker in memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.messages import SHARDS, shard_of
from app.adapters.postgresql.outbox_reader import OutboxReader
from app.adapters.postgresql.outbox_rows import OutboxPage, OutboxRow
from app.adapters.postgresql.outbox_signal import OutboxListener, OutboxSignal
from app.bootstrap import Service
from app.entrypoints import components
from app.entrypoints.kafka.relays import Relays
from tests.support.cells import cells_of
from tests.support.records import FakeBroker

EVENTS = """
    WITH numbered AS (SELECT n FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n),
    written AS (
        INSERT INTO events (shard, subject, sequence, message_id, type, data, correlation_id, causation_id)
        SELECT :shard, :sku, n, gen_random_uuid(), 'out_of_stock.v1', '{}', 'c', 'c' FROM numbered ORDER BY n
        RETURNING id, shard
    )
    INSERT INTO outbox (id, shard) SELECT id, shard FROM written
"""


SHORT_LEASE = 0.6


class CountingReader(OutboxReader):
    """Notes from where it reads, how many rows it has read, and how many times it has deleted rows."""

    after = 0
    rows = 0
    deletes = 0

    async def read(self, shards: Sequence[int], limit: int, *, after: int = 0) -> OutboxPage:
        page = await super().read(shards, limit, after=after)
        self.after = after
        self.rows += len(page.rows)
        return page

    async def delete(self, ids: Sequence[int]) -> None:
        self.deletes += 1
        await super().delete(ids)


class Outboxes:
    """The outboxes of all cells, as one process reads them."""

    def __init__(self, engine: AsyncEngine, *, lease: float = 60) -> None:
        self.readers = [OutboxReader(each, lease=lease) for each in cells_of(engine).engines]

    async def pending(self) -> int:
        """How many events wait, in all cells."""
        return sum([await reader.pending() for reader in self.readers])

    async def rows(self) -> list[OutboxRow]:
        """The rows of all cells."""
        return [row for reader in self.readers for row in (await reader.read(range(SHARDS), 1000)).rows]

    async def leave(self) -> None:
        """Release all shards."""
        for reader in self.readers:
            await reader.leave()

    async def claim(self) -> list[int]:
        """The shards that are leased afterwards, of all cells."""
        return [shard for reader in self.readers for shard in await reader.claim()]


def arguments(sku: str, first: int, last: int) -> dict[str, object]:
    return {"shard": shard_of(sku), "sku": sku, "first": first, "last": last}


async def write(engine: AsyncEngine, sku: str, first: int, last: int | None = None) -> None:
    """Commit events of the SKU, as numbered."""
    async with cells_of(engine).engine_of(sku).begin() as connection:
        await connection.execute(text(EVENTS), arguments(sku, first, last or first))


@asynccontextmanager
async def relaying(
    broker: FakeBroker, engine: AsyncEngine, database_url: str, *, cell_of: str = "SKU-0"
) -> AsyncIterator[CountingReader]:
    """The relay of the cell of a SKU."""
    signal = OutboxSignal(engine)
    reader = CountingReader(cells_of(engine).engine_of(cell_of), lease=60)
    listener = OutboxListener(database_url, signal.received)
    relay = Relays([reader], signal, listener, broker.start_producer, topic="events", source="/allocation", lease=60)
    task = asyncio.create_task(relay.run())
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.wait([task])
        await signal.close()


@asynccontextmanager
async def relaying_over_cells(service: Service, broker: FakeBroker) -> AsyncIterator[None]:
    """The relays of all cells as in a process of their own, without a signal: they poll."""
    signal = OutboxSignal(service.engine)
    relays = Relays(
        [OutboxReader(engine, lease=SHORT_LEASE) for engine in service.cells.engines],
        signal,
        OutboxListener(service.settings.database_url.get_secret_value(), signal.received),
        broker.start_producer,
        topic="events",
        source="/allocation",
        lease=SHORT_LEASE,
    )
    async with components.running([relays.run]):
        yield
