"""Units of work enter at the node that has their cell. The catalog of Citus is imitated: it is not installed here."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import DriverConnections, create_engine
from app.adapters.postgresql.database_url import Server
from app.adapters.postgresql.entry_nodes import EntryNodes
from app.adapters.postgresql.unit_of_work import SqlUnitOfWork
from app.bootstrap import Service, bootstrap
from app.domain.commands import Allocate, CancelAllocation, CreateBatch, OrderedLine, PlaceOrder
from app.embedded.postgresql import EmbeddedPostgresql
from app.embedded.process import free_port
from app.service_layer.handlers import COMMAND_HANDLERS
from app.service_layer.messagebus import MessageBus
from app.service_layer.requests import RetryPolicy
from tests.support.database import labels, play, raw_connection
from tests.support.four_cells import CELLS, in_each_cell
from tests.support.waiting import eventually

EAST, WEST = Server("east", 5432), Server("west", 5433)
SKUS = in_each_cell("SKU")
CITUS = """
    INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    VALUES (99999, 'citus', 10, 'pg_catalog'::regnamespace, false, '14.0');
    CREATE TABLE pg_dist_local_group AS SELECT 0 AS groupid;
    CREATE TABLE pg_dist_node AS
    SELECT * FROM (VALUES (0, 'here', 5432, 'primary'), (1, 'east', 5432, 'primary'), (2, 'west', 5433, 'primary'),
                          (1, 'east-standby', 5432, 'secondary')) AS n(groupid, nodename, nodeport, noderole);
    CREATE TABLE pg_dist_shard AS
    SELECT format('cell_%s.%s', cell, name)::regclass AS logicalrelid, 10 * cell + place AS shardid
    FROM generate_series(0, 3) AS cell CROSS JOIN (VALUES (0, 'products'), (1, 'events')) AS t(place, name);
    CREATE TABLE pg_dist_placement AS SELECT shardid, shardid / 10 % 3 AS groupid FROM pg_dist_shard;
    GRANT SELECT ON pg_dist_local_group, pg_dist_node, pg_dist_shard, pg_dist_placement TO allocation;
"""
"""Cells 0 and 3 are on the node that is connected to, cell 1 is in the east and cell 2 in the west."""


@pytest.fixture
async def citus(postgresql: EmbeddedPostgresql, cells_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that may change the catalog."""
    name = str(make_url(cells_url).database)
    admin_url = make_url(postgresql.admin_url).set(database=name).render_as_string(hide_password=False)
    async with raw_connection(admin_url) as connection:
        await connection.execute(CITUS)
        yield connection


@pytest.fixture
async def nodes(over_cells: Service, cells_url: str) -> AsyncIterator[EntryNodes]:
    """Entry nodes whose sessions have the host of the node as name. All are on one server."""

    def connect_to(server: Server) -> AsyncEngine:
        return create_engine(cells_url, pool_size=2, application_name=server.host)

    default = DriverConnections(over_cells.engine, keep=1)
    entries = EntryNodes(over_cells.cells, default, connect_to, keep=1)
    yield entries
    await entries.close()
    await default.close()


async def entered(nodes: EntryNodes) -> list[str]:
    """The names of the sessions that units of work of the cells have."""
    names = []
    for cell in range(CELLS.number):
        async with nodes.of(cell).borrowed() as lent:
            names.append(await lent.driver.fetchval("SELECT current_setting('application_name')"))
    return names


async def test_without_citus_all_units_of_work_enter_at_the_database_of_the_url(nodes: EntryNodes) -> None:
    await nodes.refresh()

    assert await entered(nodes) == ["allocation"] * 4


async def test_a_unit_of_work_enters_at_the_node_of_its_cell(nodes: EntryNodes, citus: asyncpg.Connection) -> None:
    bus = MessageBus(lambda cell: SqlUnitOfWork(nodes.of(cell), cells=CELLS), COMMAND_HANDLERS, cells=CELLS)
    await nodes.refresh()

    assert await entered(nodes) == ["allocation", "east", "west", "allocation"]
    await play(bus, *(CreateBatch(ref=f"batch-{sku}", sku=sku, qty=10) for sku in SKUS))
    order = PlaceOrder(order_id="order-1", lines=[OrderedLine(sku=sku, qty=1) for sku in SKUS])
    lines = (Allocate(order_id="line", sku=sku, qty=1) for sku in SKUS)
    assert labels(await play(bus, *lines, order)) == ["ok"] * 5
    written = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND query = 'COMMIT'"
    assert [await citus.fetchval(written, name) for name in ("east", "west", "allocation")] == [1, 1, 1]


async def test_the_placement_is_read_again(nodes: EntryNodes, citus: asyncpg.Connection) -> None:
    await nodes.refresh()
    async with nodes.of(2).borrowed() as in_the_west:
        await citus.execute("UPDATE pg_dist_placement SET groupid = 1 WHERE shardid / 10 = 2")
        await nodes.refresh()

        # What was begun at the node from which the cell has moved goes on.
        assert await in_the_west.driver.fetchval("SELECT 1") == 1
    assert await entered(nodes) == ["allocation", "east", "east", "allocation"]
    assert nodes.in_use() == 0

    async def has_left_the_west() -> bool:
        found = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'west'"
        return bool(await citus.fetchval(found) == 0)

    await eventually(has_left_the_west)


@pytest.mark.parametrize("enter_at_nodes", [False, True])
async def test_a_process_enters_at_nodes_if_its_settings_say_so(
    over_cells: Service, citus: asyncpg.Connection, enter_at_nodes: bool
) -> None:
    """The nodes other than that of the URL do not respond here."""
    await citus.execute(f"UPDATE pg_dist_node SET nodename = '127.0.0.1', nodeport = {free_port()} WHERE groupid > 0")
    settings = over_cells.settings.model_copy(update={"enter_at_nodes": enter_at_nodes})
    async with bootstrap(settings, retry=RetryPolicy(attempts=1)) as service:

        async def cancel(sku: str) -> str:
            return labels(await play(service.bus, CancelAllocation(order_id="order-1", sku=sku)))[0]

        async def needs_the_east() -> bool:
            return await cancel(SKUS[1]) == "unavailable"

        if enter_at_nodes:
            await eventually(needs_the_east)
        else:
            assert await cancel(SKUS[1]) == "allocation-not-found"
        assert await cancel(SKUS[0]) == "allocation-not-found"
