"""The stored answers to requests that bore a key, over PostgreSQL."""

import json
from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql import statements
from app.adapters.postgresql.messages import prune
from app.adapters.postgresql.pipelined_connection import PipelinedConnection
from app.adapters.postgresql.rows import AnswerRow
from app.adapters.postgresql.writes import INSERT_ANSWERS, Writes
from app.service_layer.idempotency import (
    IdempotencyKey,
    IdempotencyKeyInUseError,
    IdempotencyKeyReusedError,
    StoredAnswer,
)

Name = tuple[str, str]

_PRUNE = text("""
    DELETE FROM idempotency_keys USING (
        SELECT principal, key FROM idempotency_keys WHERE created_at < :time ORDER BY created_at LIMIT :limit
    ) AS old
    WHERE idempotency_keys.principal = old.principal AND idempotency_keys.key = old.key
""")


class SqlAnswers:
    """Implements `Answers` in the transaction of the connection.

    A key is locked while a transaction works on it. Another transaction does not wait for the lock, because that would
    delay its whole group. The lock ends with the transaction.
    """

    def __init__(self, connection: PipelinedConnection) -> None:
        self._connection = connection
        self._in_use: set[Name] = set()
        self._answers: dict[Name, tuple[bytes, StoredAnswer]] = {}
        self._new: list[AnswerRow] = []

    async def load(self, keys: Iterable[IdempotencyKey]) -> None:
        """Lock the keys that are free, and fetch the answers that are stored."""
        names = {key.name for key in keys}
        locks = {statements.lock_number("key", *name): name for name in names}
        for lock, is_ours in await self._connection.fetch(statements.LOCK_KEYS, list(locks)):
            if not is_ours:
                self._in_use.add(locks[lock])
        # In a statement of its own, so that it sees the answers of transactions that held the lock before.
        columns = [list(column) for column in zip(*names, strict=True)]
        for principal, key, fingerprint, status, headers, body in await self._connection.fetch(
            statements.STORED_ANSWERS, *columns
        ):
            answer = StoredAnswer(status, tuple((name, value) for name, value in json.loads(headers)), body)
            self._answers[principal, key] = (fingerprint, answer)

    def find(self, key: IdempotencyKey) -> StoredAnswer | None:
        """The stored answer, where there is one. Raises IdempotencyKeyReusedError, IdempotencyKeyInUseError."""
        if key.name in self._answers:
            fingerprint, answer = self._answers[key.name]
            if fingerprint != key.fingerprint:
                raise IdempotencyKeyReusedError
            return answer
        if key.name in self._in_use:
            raise IdempotencyKeyInUseError
        return None

    def keep(self, key: IdempotencyKey, answer: StoredAnswer) -> None:
        """Store the answer with the commit."""
        self._answers[key.name] = (key.fingerprint, answer)
        headers = json.dumps(answer.headers)
        self._new.append(AnswerRow(*key.name, key.fingerprint, answer.status, headers, answer.body))

    def changes(self) -> Writes:
        """The write of the new answers."""
        return {INSERT_ANSWERS: self._new}


async def prune_answers(engine: AsyncEngine, hours: int) -> None:
    """Delete the answers that are older than `hours`."""
    await prune(engine, _PRUNE, hours)
