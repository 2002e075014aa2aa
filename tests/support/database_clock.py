"""A clock of the database that the test moves. It takes the place of the time of a statement."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.database import raw_connection

# The function hides the one of PostgreSQL from everything that does not name its schema.
_INSTALL = """
    CREATE SCHEMA moved;
    CREATE TABLE moved.clock (now timestamptz NOT NULL);
    CREATE FUNCTION moved.statement_timestamp() RETURNS timestamptz STABLE LANGUAGE sql
        AS 'SELECT now FROM moved.clock';
"""
_INSERT = "INSERT INTO moved.clock VALUES ($1)"
_USE = """
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET search_path = moved, pg_catalog, public', current_database());
    END $$
"""
_SET = text("UPDATE moved.clock SET now = :now")


async def install_clock(database_url: str, now: datetime) -> None:
    """Let connections that are made from now on see this time. Those that exist see the time of PostgreSQL."""
    async with raw_connection(database_url) as connection:
        await connection.execute(_INSTALL)
        await connection.execute(_INSERT, now)
        await connection.execute(_USE)


async def set_clock(engine: AsyncEngine, now: datetime) -> None:
    """Set the time."""
    async with engine.begin() as connection:
        await connection.execute(_SET, {"now": now})
