"""The tokens of commits are deleted when their sessions have ended, and no process can ask for them any more."""

from uuid import UUID, uuid4

import pytest
from asyncpg import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.commit_tokens import EndedSessions
from app.bootstrap import Service
from app.entrypoints import components
from tests.support.database import raw_connection
from tests.support.waiting import eventually

NO_PROCESS = 2**31 - 1
"""Larger than any process id."""


async def note(connection: Connection, backend: int) -> UUID:
    token = uuid4()
    await connection.execute(
        "INSERT INTO commits VALUES ($1, $2) ON CONFLICT (backend) DO UPDATE SET token = excluded.token", backend, token
    )
    return token


async def tokens(connection: Connection) -> dict[int, UUID]:
    return {row["backend"]: row["token"] for row in await connection.fetch("SELECT * FROM commits")}


async def test_a_token_is_deleted_at_the_second_call_after_the_end_of_its_session(
    engine: AsyncEngine, database_url: str
) -> None:
    async with raw_connection(database_url) as connection:
        token = await note(connection, NO_PROCESS)
        sessions = EndedSessions(engine)

        await sessions.prune()
        assert (await tokens(connection))[NO_PROCESS] == token

        await sessions.prune()
        assert NO_PROCESS not in await tokens(connection)


async def test_a_token_of_a_session_that_goes_on_is_kept(engine: AsyncEngine, database_url: str) -> None:
    async with raw_connection(database_url) as connection:
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        token = await note(connection, backend)
        sessions = EndedSessions(engine)

        for _ in range(3):
            await sessions.prune()

        assert (await tokens(connection))[backend] == token


async def test_a_later_session_with_the_same_process_id_keeps_its_token(engine: AsyncEngine, database_url: str) -> None:
    async with raw_connection(database_url) as connection:
        await note(connection, NO_PROCESS)
        sessions = EndedSessions(engine)
        await sessions.prune()
        later = await note(connection, NO_PROCESS)

        await sessions.prune()

        assert (await tokens(connection))[NO_PROCESS] == later


async def test_housekeeping_deletes_them(service: Service, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "PRUNE_INTERVAL", 0.05)
    async with raw_connection(database_url) as connection:
        await note(connection, NO_PROCESS)

        async def deleted() -> bool:
            return NO_PROCESS not in await tokens(connection)

        async with components.running([components.housekeeping(service)]):
            await eventually(deleted)
