"""Queries of the faults on the service's database, the same for one cell and for several."""

import asyncio
from typing import Any

import asyncpg

from app.adapters.postgresql.cells import CONTROL, schemas_of

CONNECT_SECONDS, QUERY_SECONDS = 5.0, 30.0


class Database:
    """Queries on the service's database beyond its read side. Each opens its own connection.

    With several cells the tables of the service are in the schema of each cell, and in `control`.
    """

    def __init__(self, dsn: str, cells: int = 1) -> None:
        """`dsn` is the URL for asyncpg."""
        self.dsn = dsn
        self.schemas = schemas_of(cells) if cells == 1 else (*schemas_of(cells), CONTROL)

    async def fetch(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """The rows of a query that names no table of the service."""
        connection = await self.connect()
        try:
            return [tuple(row) for row in await connection.fetch(query, *arguments, timeout=QUERY_SECONDS)]
        finally:
            await connection.close()

    def ask(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """The same for synchronous code."""
        return asyncio.run(self.fetch(query, *arguments))

    def ask_each(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Run the statement in each schema of the service, one after the other; returns the rows of all."""
        return asyncio.run(self._fetch_each(query, *arguments))

    def total(self, query: str, *arguments: object) -> int:
        """The sum over all schemas of a query for one number."""
        return sum(int(number or 0) for (number,) in self.ask_each(query, *arguments))

    def received_since(self, since: float) -> dict[str, float]:
        """The inbound messages whose transaction began after `since`, and its start."""
        query = (
            "SELECT message_id, extract(epoch FROM received_at)::float8 FROM inbox WHERE received_at > to_timestamp($1)"
        )
        return {ce_id: received for ce_id, received in self.ask_each(query, since)}  # noqa: C416 - pairs by their meaning

    async def connect(self) -> asyncpg.Connection:
        """A connection for several statements."""
        # A prepared statement would keep the tables of another schema.
        return await asyncpg.connect(self.dsn, timeout=CONNECT_SECONDS, statement_cache_size=0)

    async def _fetch_each(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        connection = await self.connect()
        try:
            rows = []
            for schema in self.schemas:
                await choose(connection, schema)
                rows += await connection.fetch(query, *arguments, timeout=QUERY_SECONDS)
            return [tuple(row) for row in rows]
        finally:
            await connection.close()


async def choose(connection: asyncpg.Connection, schema: str | None) -> None:
    """Let the next statements of the connection mean the tables of that schema.

    Statements of the faults also name tables behind words after which the service never does, such as ON in CREATE
    TRIGGER, so `qualified` is not enough.
    """
    if schema is not None:
        await connection.execute(f"SET search_path TO {schema}, public")
