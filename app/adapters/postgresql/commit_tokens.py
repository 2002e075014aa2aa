"""Deletes the commit tokens of sessions that have ended."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import begin

PAGE = 5000

# Process ids are in the view for every role.
_ENDED = text("""
    SELECT backend, token FROM commits
    WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = backend)
    ORDER BY backend LIMIT :limit
""")
_DELETE = text("""
    DELETE FROM commits USING unnest(CAST(:backends AS integer[]), CAST(:tokens AS uuid[])) AS ended(backend, token)
    WHERE commits.backend = ended.backend AND commits.token = ended.token
""")


class EndedSessions:
    """Remembers which sessions had ended at the last call.

    A process asks for the token of its commit within a minute after the session was lost. So a token is deleted at the
    second call that finds it, and calls are further apart than that. Each call deletes at most a page.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._ended: frozenset[tuple[int, UUID]] = frozenset()

    async def prune(self) -> None:
        """Delete the tokens that the call before has found as well."""
        async with begin(self._engine) as connection:
            rows: Any = await connection.execute(_ENDED, {"limit": PAGE})
            found = frozenset((backend, token) for backend, token in rows)
            gone = found & self._ended
            if gone:
                backends, tokens = zip(*gone, strict=True)
                await connection.execute(_DELETE, {"backends": list(backends), "tokens": list(tokens)})
        self._ended = found - gone
