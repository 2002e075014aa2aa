"""Views of all cells together, so that the statements of tests find the rows of each cell."""

import asyncpg
from sqlalchemy.engine import make_url

from app.adapters.postgresql.cells import CONTROL, schemas_of
from app.adapters.postgresql.tables import dead_letters, event_archives, metadata, notified_batches, notified_products

IN_CONTROL = {dead_letters, event_archives, notified_batches, notified_products}


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
