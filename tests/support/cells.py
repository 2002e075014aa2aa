"""The cells of the databases of tests, and views of all cells together, in which the statements of tests find rows."""

import os
from itertools import count, islice

import asyncpg
import pytest
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


def schema_of_name(name: str) -> str | None:
    """The schema of the cell of a SKU, an order id, a cart id or a batch ref; None with one cell."""
    return schemas_of(CELLS.number)[CELLS.of(name)]


def in_one_cell(prefix: str, number: int, *, cell_of: str | None = None) -> list[str]:
    """Names that begin with the prefix, all of one cell: that of the first one, or of another name.

    With one cell they are numbered from 0.
    """
    cell = CELLS.of(f"{prefix}-0" if cell_of is None else cell_of)
    names = (f"{prefix}-{each}" for each in count())
    return list(islice((name for name in names if CELLS.of(name) == cell), number))


def one_cell_only(reason: str) -> pytest.MarkDecorator:
    """Marks a test of what exists with one cell only."""
    return pytest.mark.skipif(CELLS.number > 1, reason=f"with one cell only: {reason}")


# A row is known by all its values, because two cells may have rows with one id.
_WRITE = """
    CREATE FUNCTION public.write_to_cells() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        columns text;
        cell text;
        stored jsonb;
    BEGIN
        IF TG_OP = 'INSERT' THEN
            SELECT string_agg(quote_ident(key), ', ') INTO columns
            FROM jsonb_each(to_jsonb(NEW)) WHERE value <> 'null';
            EXECUTE format('INSERT INTO %1$I.%2$I AS t (%3$s) SELECT %3$s '
                           'FROM jsonb_populate_record(NULL::%1$I.%2$I, $1) RETURNING to_jsonb(t)',
                           TG_ARGV[0], TG_TABLE_NAME, columns) INTO stored USING to_jsonb(NEW);
            RETURN jsonb_populate_record(NEW, stored);
        END IF;
        FOREACH cell IN ARRAY TG_ARGV LOOP
            IF TG_OP = 'DELETE' THEN
                EXECUTE format('DELETE FROM %I.%I AS t WHERE to_jsonb(t) = $1', cell, TG_TABLE_NAME)
                USING to_jsonb(OLD);
            ELSIF to_jsonb(NEW) <> to_jsonb(OLD) THEN
                SELECT string_agg(quote_ident(key), ', ') INTO columns
                FROM jsonb_each(to_jsonb(NEW)) WHERE value <> to_jsonb(OLD) -> key;
                EXECUTE format('UPDATE %1$I.%2$I AS t SET (%3$s) = (SELECT %3$s FROM '
                               'jsonb_populate_record(NULL::%1$I.%2$I, $1)) WHERE to_jsonb(t) = $2',
                               cell, TG_TABLE_NAME, columns) USING to_jsonb(NEW), to_jsonb(OLD);
            END IF;
        END LOOP;
        RETURN coalesce(NEW, OLD);
    END $$
"""


async def create_views(database_url: str, cells: int) -> None:
    """Create a view in the schema `public` for each table: the rows of all cells, or those of `control`.

    Rows can be changed and deleted through the views. A new row goes to the first cell, whatever its name, so tests may
    only list or count what they insert.
    """
    dsn = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_WRITE)
        for table in metadata.sorted_tables:
            schemas = [CONTROL] if table in IN_CONTROL else schemas_of(cells)
            columns = ", ".join(f'"{column.name}"' for column in table.columns)
            rows = " UNION ALL ".join(f"SELECT {columns} FROM {schema}.{table.name}" for schema in schemas)
            await connection.execute(f"CREATE VIEW public.{table.name} AS {rows}")
            arguments = ", ".join(f"'{schema}'" for schema in schemas)
            await connection.execute(
                f"CREATE TRIGGER write_to_cells INSTEAD OF INSERT OR UPDATE OR DELETE ON public.{table.name} "
                f"FOR EACH ROW EXECUTE FUNCTION public.write_to_cells({arguments})"
            )
    finally:
        await connection.close()
