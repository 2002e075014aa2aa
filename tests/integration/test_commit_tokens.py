"""A COMMIT without an answer: the token of the connection shows the outcome, as soon as there is one."""

import asyncio
import uuid

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql import commit_tokens
from app.adapters.postgresql.commit_tokens import has_committed, prune_commit_tokens
from app.adapters.postgresql.connections import DriverConnections
from app.adapters.postgresql.unit_of_work import SqlUnitOfWork
from app.domain.commands import Allocate, CreateBatch
from app.service_layer.messagebus import MessageBus
from app.service_layer.requests import RetryPolicy
from tests.support.cells import cells_of, schema_of_name
from tests.support.database import bus_over, play, raw_connection, waiting_for_a_lock
from tests.support.messages import Pauses

IN_COMMIT = 4711
LINE = Allocate(order_id="order-1", sku="CHAIR", qty=1)
NOTE = "INSERT INTO commit_tokens (connection, token) VALUES ($1, $2)"
TYPES = text("SELECT type FROM events WHERE subject = 'CHAIR' ORDER BY sequence")


@pytest.fixture(autouse=True)
async def stock(bus: MessageBus) -> None:
    await play(bus, CreateBatch(ref="batch-1", sku="CHAIR", qty=10))


# A COMMIT that waits for this lock is under way in the server, and its outcome is open.
WAIT_IN_COMMIT = f"""
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared({IN_COMMIT}); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON order_lines DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait()
"""
CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.mark.parametrize("is_first", [True, False], ids=["the-first-of-its-connection", "a-later-one"])
@pytest.mark.parametrize("does_commit", [True, False], ids=["commit", "roll-back"])
async def test_the_question_waits_for_a_transaction_that_is_not_decided(
    engine: AsyncEngine, database_url: str, does_commit: bool, is_first: bool
) -> None:
    connections = DriverConnections(engine, keep=1)
    names: list[uuid.UUID] = []

    class LosesAnAnswer(SqlUnitOfWork):
        async def _commit(self) -> None:
            names.append(self._lent.name)
            if len(names) == (1 if is_first else 2):
                committing = asyncio.create_task(self._lent.driver.execute("COMMIT"))
                await waiting_for_a_lock(database_url)
                self._lent.driver.terminate()
                await committing
            await super()._commit()

    bus = bus_over(connections, RetryPolicy(sleep=Pauses()), kind=LosesAnAnswer)
    if not is_first:
        await play(bus, CreateBatch(ref="batch-2", sku="CHAIR", qty=10))
    async with raw_connection(database_url, cell_of="CHAIR") as other:
        await other.execute(WAIT_IN_COMMIT)
        if is_first:
            await other.execute("DELETE FROM commit_tokens")
        async with other.transaction():
            await other.execute("SELECT pg_advisory_xact_lock($1)", IN_COMMIT)
            running = asyncio.create_task(play(bus, LINE))
            await waiting_for_a_lock(database_url, 2)
            if not does_commit:
                await other.execute(CANCEL)
        outcomes = await running
    await connections.close()

    assert is_first or names[0] == names[1]
    assert len(names) == (2 - does_commit) + (not is_first)
    assert [outcome.unwrap().changed for outcome in outcomes] == [True]
    async with engine.connect() as connection:
        assert list((await connection.execute(TYPES)).scalars())[-1] == "line_allocated.v1"
        assert (await connection.execute(text("SELECT count(*) FROM order_lines"))).scalar_one() == 1


async def test_a_transaction_that_stays_undecided_counts_as_not_committed(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_tokens, "QUESTIONS", 2)
    monkeypatch.setattr(commit_tokens, "_BEGIN", "BEGIN; SET LOCAL lock_timeout = '50ms'")
    connections, name, token = DriverConnections(engine), uuid.uuid4(), uuid.uuid4()
    schema = schema_of_name("CHAIR")
    async with raw_connection(database_url, cell_of="CHAIR") as other:
        async with other.transaction():
            await other.execute(NOTE, name, token)
            assert not await has_committed(connections, name, token, schema)

        assert await has_committed(connections, name, token, schema)
        assert not await has_committed(connections, name, uuid.uuid4(), schema)
        # The question leaves nothing behind.
        assert not await has_committed(connections, unknown := uuid.uuid4(), token, schema)
        assert await other.fetchval("SELECT count(*) FROM commit_tokens WHERE connection = $1", unknown) == 0


async def test_a_connection_keeps_its_name_and_a_new_one_has_another(engine: AsyncEngine) -> None:
    connections = DriverConnections(engine)
    names = []
    for end in (connections.give_back, connections.throw_away, connections.throw_away):
        lent = await connections.lend()
        names.append(lent.name)
        await end(lent)

    assert names[0] == names[1] != names[2]


async def test_tokens_of_connections_that_are_not_used_are_deleted(engine: AsyncEngine, database_url: str) -> None:
    old, new = uuid.uuid4(), uuid.uuid4()
    async with raw_connection(database_url, cell_of="CHAIR") as connection:
        for name, hours in ((old, 25), (new, 23)):
            note = "INSERT INTO commit_tokens VALUES ($1, $1, now() - make_interval(hours => $2))"
            await connection.execute(note, name, hours)
        await prune_commit_tokens(cells_of(engine).engine_of("CHAIR"))
        left = {row["connection"] for row in await connection.fetch("SELECT connection FROM commit_tokens")}

    assert new in left
    assert old not in left
