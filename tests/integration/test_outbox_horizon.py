"""The settled position of the outbox: no running transaction can still write before it."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.outbox_horizon import Horizon, ServerChangedError
from tests.support.cells import one_cell_only
from tests.support.database import raw_connection
from tests.support.relaying import write

pytestmark = one_cell_only("the relays of several cells read from the first row, and use no settled position")


@pytest.mark.parametrize("locks_the_table", [True, False], ids=["this-release", "the-next-release"])
@pytest.mark.parametrize("takes_a_number", [True, False], ids=["with-an-xid", "before-it-has-an-xid"])
async def test_positions_that_a_running_transaction_may_precede_are_not_settled(
    engine: AsyncEngine, database_url: str, takes_a_number: bool, locks_the_table: bool
) -> None:
    horizon = Horizon()
    async with raw_connection(database_url) as slow, raw_connection(database_url) as connection:
        await write(engine, "CHAIR", 1)
        before = await connection.fetchval("SELECT max(id) FROM outbox")
        await horizon.look(connection)
        assert horizon.settled == before

        # Between the draw of an id and the insert of its row, PostgreSQL shows nothing but the locks on the sequence
        # and, in this release, on the table.
        await slow.execute("BEGIN")
        if locks_the_table:
            await slow.execute("LOCK TABLE events IN ROW EXCLUSIVE MODE")
        await slow.execute("SELECT nextval(pg_get_serial_sequence('events', 'id'))")
        if takes_a_number:
            await slow.execute("SELECT pg_current_xact_id()")
        await write(engine, "CHAIR", 2)
        for _ in range(3):
            await horizon.look(connection)
            assert horizon.settled == before

        await slow.execute("COMMIT")
        await horizon.look(connection)
        assert horizon.settled == await connection.fetchval("SELECT max(id) FROM events") > before


async def test_overlapping_transactions_do_not_stop_the_horizon(engine: AsyncEngine, database_url: str) -> None:
    horizon = Horizon()
    async with (
        raw_connection(database_url) as one,
        raw_connection(database_url) as two,
        raw_connection(database_url) as connection,
    ):
        await one.execute("BEGIN; LOCK TABLE events IN ROW EXCLUSIVE MODE")
        for number in range(1, 10):
            await write(engine, "CHAIR", number)
            await horizon.look(connection)
            running, ending = (two, one) if number % 2 else (one, two)
            await running.execute("BEGIN; LOCK TABLE events IN ROW EXCLUSIVE MODE")
            await ending.execute("COMMIT")
        third_last = await connection.fetchval("SELECT id FROM events ORDER BY id DESC OFFSET 2 LIMIT 1")
        assert horizon.settled >= third_last


async def test_nothing_is_settled_on_a_new_server(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    horizon = Horizon()
    await write(engine, "CHAIR", 1)
    async with raw_connection(database_url) as connection:
        await horizon.look(connection)
        assert horizon.settled
        monkeypatch.setattr(horizon, "_server", "another one, started at another time")
        with pytest.raises(ServerChangedError):
            await horizon.look(connection)
        assert horizon.settled == 0
