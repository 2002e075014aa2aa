"""The inbox in PostgreSQL: with the release before, which used ids alone, and with concurrent consumers."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.adapters.postgresql.connections import create_engine
from app.adapters.postgresql.messages import prune_inbox
from app.integration.inbound import ReceivedMessage
from app.service_layer.ports import Receipt
from tests.support.cells import cells_of, one_cell_only
from tests.support.database import raw_connection, statements, unit_of_work, waiting_for_a_lock
from tests.support.messages import received

OLD_ACCEPT = """
    INSERT INTO inbox (message_id) SELECT unnest($1::text[])
    ON CONFLICT (message_id) DO NOTHING RETURNING message_id
"""
"""The statement of the release before 0006."""

OLD_KEEP = """
    INSERT INTO dead_letters
    (consumer, topic, partition, "offset", "timestamp", message_id, key, value, headers, reason)
    VALUES ('allocation', 'inbound', 0, $1, 0, 'id', NULL, 'x', '[]', 'a reason') ON CONFLICT DO NOTHING
"""


async def accept(engine: AsyncEngine, *messages: ReceivedMessage) -> dict[tuple[str, str], Receipt]:
    async with unit_of_work(engine) as uow:
        known = await uow.inbox.accept(messages)
        await uow.commit()
        return known


@one_cell_only("the release before knows no cells")
async def test_ids_received_by_the_release_before_are_duplicates_for_any_source(
    engine: AsyncEngine, database_url: str
) -> None:
    async with raw_connection(database_url) as old:
        await old.execute(OLD_ACCEPT, ["1"])

    for source in ("", "/one", "/other"):
        (receipt,) = (await accept(engine, received("1", source))).values()
        assert receipt.content is None
    assert await ids(engine) == ["1"]


async def ids(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return list(await connection.scalars(text("SELECT split_part(message_id, E'\\n', 1) FROM inbox")))


@one_cell_only("the release before knows no cells")
async def test_the_release_before_recognises_messages_received_by_this_one(
    engine: AsyncEngine, database_url: str
) -> None:
    await accept(engine, received("1", "/one"), received("1", "/other"), received("2", ""))

    async with raw_connection(database_url) as old:
        accepted = [row["message_id"] for row in await old.fetch(OLD_ACCEPT, ["1", "2", "3"])]
    assert accepted == ["3"]


@one_cell_only("the release before knows no cells")
async def test_the_release_before_can_still_store_dead_letters(engine: AsyncEngine, database_url: str) -> None:
    async with raw_connection(database_url) as old:
        for offset in (1, 1, 2):
            await old.execute(OLD_KEEP, offset)
        assert await old.fetchval("SELECT count(*) FROM dead_letters") == 2


async def test_a_delivery_and_a_redelivery_cost_one_statement_each(database_url: str) -> None:
    engine = create_engine(database_url, pool_size=1)
    messages = [received(str(number), source) for number in range(20) for source in ("/one", "/other")]
    await accept(engine, *messages)
    fresh = [received(f"fresh-{number}", "/one") for number in range(20)]
    for group in (fresh, fresh, messages):
        async with statements(engine) as executed, unit_of_work(engine) as uow:
            await uow.inbox.accept(group)
            await uow.commit()
        assert len(executed) == 3, executed  # BEGIN, the one, COMMIT
    await engine.dispose()


async def test_one_id_of_two_sources_in_two_consumers_is_received_once_each(
    engine: AsyncEngine, database_url: str
) -> None:
    messages = [received("1", f"/source-{number}") for number in range(4)]
    async with raw_connection(database_url, cell_of=received("").routing_key) as third:
        transaction = third.transaction()
        await transaction.start()
        await third.execute("INSERT INTO inbox (message_id, source, content) VALUES ('1', '/third', '')")
        # Both run until they wait for the third one's commit.
        both = [asyncio.create_task(accept(engine, *group)) for group in (messages, messages[::-1])]
        await waiting_for_a_lock(database_url, 2)
        await transaction.commit()
        known = await asyncio.gather(*both)

    assert sorted(map(len, known)) == [0, 4]
    assert await ids(engine) == ["1"] * 5


async def test_an_id_is_remembered_as_long_as_any_source_that_has_used_it(
    engine: AsyncEngine, database_url: str
) -> None:
    await accept(engine, received("1", "/one"), received("2", "/one"))
    async with raw_connection(database_url) as admin:
        await admin.execute("UPDATE inbox SET received_at = now() - interval '8 days'")
    await accept(engine, received("1", "/other"))

    for cell in cells_of(engine).engines:
        await prune_inbox(cell, 7)

    assert set(await accept(engine, received("1", "/other"), received("2", "/one"))) == {("/other", "1")}
