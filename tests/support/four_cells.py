"""A database with four cells, and rows in them."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy.engine import make_url

from app.adapters.postgresql import schema
from app.embedded.postgresql import EmbeddedPostgresql
from app.service_layer.cells import CellMap
from tests.conftest import new_database

CELLS = CellMap(4)
SCHEMAS = ["cell_0", "cell_1", "cell_2", "cell_3"]


def in_each_cell(prefix: str, of_each: int = 1) -> list[str]:
    """Names that begin with the prefix, `of_each` of each cell, the cells in turn."""
    names: list[list[str]] = [[] for _ in SCHEMAS]
    number = 0
    while min(map(len, names)) < of_each:
        name = f"{prefix}-{number}"
        names[CELLS.of(name)].append(name)
        number += 1
    return [name for group in zip(*names, strict=False) for name in group][: of_each * len(SCHEMAS)]


def schema_of_name(name: str) -> str:
    return SCHEMAS[CELLS.of(name)]


@contextmanager
def migrated_template(server: EmbeddedPostgresql) -> Iterator[str]:
    """The name of a database with four cells, which is fast to copy."""
    with new_database(server) as url:
        schema.migrate(url, cells=CELLS.number)
        yield str(make_url(url).database)


async def insert_product(connection: asyncpg.Connection, sku: str, **columns: object) -> None:
    """Insert a product into its cell."""
    names = ["sku", *columns]
    places = ", ".join(f"${number}" for number in range(1, len(names) + 1))
    await connection.execute(
        f"INSERT INTO {schema_of_name(sku)}.products ({', '.join(names)}) VALUES ({places})", sku, *columns.values()
    )


async def insert_batch(connection: asyncpg.Connection, ref: str, sku: str, number: int) -> None:
    """Insert an empty batch into the cell of its product, without its ref."""
    await connection.execute(
        f"INSERT INTO {schema_of_name(sku)}.batches (sku, number, ref, qty, first_qty) VALUES ($1, $2, $3, 0, 0)",
        sku,
        number,
        ref,
    )


async def insert_ref(connection: asyncpg.Connection, ref: str, sku: str) -> None:
    """Insert the ref of a batch into the ref's own cell."""
    await connection.execute(f"INSERT INTO {schema_of_name(ref)}.batch_refs (ref, sku) VALUES ($1, $2)", ref, sku)


async def in_all_cells(connection: asyncpg.Connection, question: str) -> list[object]:
    """The answer of each cell to a statement that returns one value."""
    return [await connection.fetchval(question.format(schema=schema)) for schema in SCHEMAS]
