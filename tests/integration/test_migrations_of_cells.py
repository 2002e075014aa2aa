"""The schemas of several cells: the number is chosen once, and an interrupted migration continues."""

import asyncio

import pytest

from app.adapters.postgresql import schema
from app.adapters.postgresql.connections import create_engine
from tests.support.database import raw_connection


async def execute(database_url: str, statement: str) -> None:
    async with raw_connection(database_url) as connection:
        await connection.execute(statement)


async def check(database_url: str, cells: int) -> str | None:
    engine = create_engine(database_url, pool_size=1)
    try:
        return await schema.check(engine, cells=cells)
    finally:
        await engine.dispose()


@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1), (2, 3)])
def test_another_number_of_cells_is_refused(empty_database_url: str, first: int, then: int) -> None:
    schema.migrate(empty_database_url, cells=first)

    with pytest.raises(schema.WrongNumberOfCellsError, match=f"ALLOCATION_CELLS is {then}"):
        schema.migrate(empty_database_url, cells=then)

    assert f"ALLOCATION_CELLS is {then}" in str(asyncio.run(check(empty_database_url, then)))
    assert asyncio.run(check(empty_database_url, first)) is None


def test_an_interrupted_migration_continues(empty_database_url: str) -> None:
    schema.migrate(empty_database_url, cells=2)
    asyncio.run(execute(empty_database_url, "DROP SCHEMA cell_1 CASCADE"))
    assert "the schema cell_1 is at revision none" in str(asyncio.run(check(empty_database_url, 2)))

    assert schema.migrate(empty_database_url, cells=2) == schema.head()

    assert asyncio.run(check(empty_database_url, 2)) is None


def test_a_schema_of_another_program_with_the_name_control_says_nothing(empty_database_url: str) -> None:
    asyncio.run(execute(empty_database_url, "CREATE SCHEMA control; COMMENT ON SCHEMA control IS 'of another program'"))

    schema.migrate(empty_database_url)

    assert asyncio.run(check(empty_database_url, 1)) is None
