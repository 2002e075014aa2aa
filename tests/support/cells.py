"""The cells of the databases of tests, and views of all cells together, in which the statements of tests find rows."""

import os

import asyncpg
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.cells import CONTROL, Cells, schemas_of
from app.adapters.postgresql.tables import dead_letters, event_archives, metadata, notified_batches, notified_products
from app.read_model.queries import Queries
from app.service_layer.cells import CellMap

CELLS = CellMap(int(os.environ.get("ALLOCATION_CELLS", "1")))
"""`ALLOCATION_CELLS=4 make test` runs the tests that do not depend on the number of cells with four."""

IN_CONTROL = {dead_letters, event_archives, notified_batches, notified_products}


def cells_of(engine: AsyncEngine) -> Cells:
    """The cells of the database of a test."""
    return Cells(engine, CELLS)


def queries_over(engine: AsyncEngine) -> Queries:
    """The queries of the database of a test."""
    return Queries(cells_of(engine))


async def create_views(database_url: str, cells: int) -> None:
    """Create a view in the schema `public` for each table: the rows of all cells, or those of `control`."""
    dsn = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn)
    try:
        for table in metadata.sorted_tables:
            schemas = [CONTROL] if table in IN_CONTROL else schemas_of(cells)
            columns = ", ".join(f'"{column.name}"' for column in table.columns)
            rows = " UNION ALL ".join(f"SELECT {columns} FROM {schema}.{table.name}" for schema in schemas)
            await connection.execute(f"CREATE VIEW public.{table.name} AS {rows}")
    finally:
        await connection.close()
