"""The tokens of commits: whether a COMMIT without an answer took effect (docs/decisions/0010)."""

import asyncio
import contextlib
import uuid

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.cells import qualified
from app.adapters.postgresql.connections import DriverConnections
from app.adapters.postgresql.messages import prune
from app.adapters.postgresql.unavailable import DatabaseUnavailableError

QUESTIONS = 5
QUESTION_TIMEOUT = 2.0
LOCK_TIMEOUT = 1.0
"""Seconds that one question waits for a transaction that is not decided yet."""

RETENTION = 24
"""Hours for which the token of a connection is kept. A question comes within some seconds of the commit."""

_BEGIN = f"BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'"
# It waits for a transaction that has written the row of the connection and is not decided yet, also where that row is
# the connection's first and does not show yet: SELECT ... FOR UPDATE would not find it.
_ASK = """
    INSERT INTO commit_tokens (connection, token) VALUES ($1, $2)
    ON CONFLICT (connection) DO UPDATE SET token = commit_tokens.token RETURNING token
"""
_PRUNE = text("""
    DELETE FROM commit_tokens WHERE connection IN (
        SELECT connection FROM commit_tokens WHERE noted_at < :time LIMIT :limit FOR UPDATE SKIP LOCKED
    )
""")


async def has_committed(
    connections: DriverConnections, connection: uuid.UUID, token: uuid.UUID, schema: str | None = None
) -> bool:
    """Whether the transaction with the token, the last one of the connection, has committed. It waits for the outcome.

    `schema` is that of the cell in which the token was written.

    False also where the database does not answer in time, or the outcome takes longer: the group then runs again, which
    each command allows.
    """
    await connections.invalidate_idle()
    for attempt in range(QUESTIONS):
        await asyncio.sleep(0.1 * 2**attempt)
        with contextlib.suppress(DatabaseUnavailableError):
            return await _last_token(connections, connection, schema) == token
    return False


async def _last_token(connections: DriverConnections, connection: uuid.UUID, schema: str | None) -> uuid.UUID:
    """The token of the last transaction of the connection that has committed, or a new one."""
    async with connections.borrowed() as lent:
        await lent.driver.execute(_BEGIN, timeout=QUESTION_TIMEOUT)
        ask = qualified(_ASK, schema)
        token: uuid.UUID = await lent.driver.fetchval(ask, connection, uuid.uuid4(), timeout=QUESTION_TIMEOUT)
        # Nothing is changed, and a roll-back does not wait for a synchronous standby.
        await lent.driver.execute("ROLLBACK", timeout=QUESTION_TIMEOUT)
    return token


async def prune_commit_tokens(engine: AsyncEngine) -> None:
    """Delete the tokens of connections that have committed nothing for `RETENTION` hours."""
    await prune(engine, _PRUNE, RETENTION)
