"""The nodes of Citus at which units of work enter: that of their cell, so that its statements run where they arrive.

A unit of work may enter at any node; at another one than that of its cell it costs PostgreSQL a third more. So nothing
depends on the placement that was read last, and it is read again every few seconds.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.cells import Cells
from app.adapters.postgresql.connections import DriverConnections
from app.adapters.postgresql.database_url import Server
from app.adapters.postgresql.placement import entries_of
from app.cancellation import cancel, raise_if_cancelled

log = logging.getLogger(__name__)

REFRESH_INTERVAL = 5.0
"""Seconds between reads of the placement. After a failover this is how long a cell may wait for its new node."""

CreateEngine = Callable[[Server], AsyncEngine]


class EntryNodes:
    """The connections for the units of work of each cell: to its node, or the given ones where that is not known."""

    def __init__(self, cells: Cells, connections: DriverConnections, create_engine: CreateEngine, *, keep: int) -> None:
        """`create_engine` makes a pool for a node. For `keep` see `DriverConnections`."""
        self._cells = cells
        self._default = connections
        self._create_engine = create_engine
        self._keep = keep
        self._nodes: dict[Server, tuple[AsyncEngine, DriverConnections]] = {}
        self._of_cell: Mapping[int, DriverConnections] = {}

    def of(self, cell: int) -> DriverConnections:
        """The connections for a unit of work of the cell, or of several cells."""
        return self._of_cell.get(cell, self._default)

    def in_use(self) -> int:
        """How many connections are in use, over all nodes."""
        return self._default.in_use() + sum(connections.in_use() for _, connections in self._nodes.values())

    async def refresh(self) -> None:
        """Read the placement. Raises DatabaseUnavailableError; the placement is then that of before."""
        entries = await entries_of(self._cells)
        for server in set(entries.values()) - self._nodes.keys():
            engine = self._create_engine(server)
            self._nodes[server] = engine, DriverConnections(engine, keep=self._keep)
        self._of_cell = {cell: self._nodes[server][1] for cell, server in entries.items()}
        for server in self._nodes.keys() - set(entries.values()):
            log.info("no cell is on node %s any more", server)
            await self._close(server)

    @asynccontextmanager
    async def refreshed(self) -> AsyncIterator[None]:
        """Read the placement again and again during the block. At its end close all connections to nodes."""
        task = asyncio.create_task(self._refresh_forever(), name="placement-of-cells")
        try:
            yield
        finally:
            await cancel([task])
            await self.close()

    async def close(self) -> None:
        """Close all connections to nodes. From now on units of work get the default ones."""
        self._of_cell = {}
        for server in list(self._nodes):
            await self._close(server)

    async def _refresh_forever(self) -> None:
        while True:
            try:
                await self.refresh()
            except Exception as error:  # noqa: BLE001 - it is repeated, and a stale placement only costs more
                raise_if_cancelled()
                log.info("the placement of the cells could not be read: %r", error)
            await asyncio.sleep(REFRESH_INTERVAL)

    async def _close(self, server: Server) -> None:
        engine, connections = self._nodes.pop(server)
        await connections.close()
        await engine.dispose()
