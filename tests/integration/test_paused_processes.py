"""Messages that a paused process has begun to handle, and those behind them."""

import pytest

from app.adapters.postgresql.connections import create_engine
from app.domain.commands import Allocate, CancelOrder, ChangeBatchQuantity, Command, CreateBatch
from app.service_layer.requests import Request, RetryPolicy
from tests.support.cells import queries_over
from tests.support.database import CAUSE, bus_over, labels, play, raw_connection
from tests.support.messages import Pauses, received

TAKE = "INSERT INTO inbox (message_id, source, content) VALUES ($1, $2, $3)"


@pytest.mark.parametrize(
    "indirect",
    [ChangeBatchQuantity(ref="batch-CHAIR", qty=0), CancelOrder(order_id="order-1")],
    ids=lambda command: type(command).__name__,
)
@pytest.mark.parametrize("way", ["run_shared", "run_apart"])
async def test_a_message_does_not_overtake_one_that_another_process_has_begun(
    database_url: str, monkeypatch: pytest.MonkeyPatch, indirect: Command, way: str
) -> None:
    """A paused process may hold the row of a message in the inbox, which does not say of which product it is."""
    monkeypatch.setattr("app.adapters.postgresql.connections.LOCK_TIMEOUT", 0.05)
    engine = create_engine(database_url, pool_size=2)
    bus = bus_over(engine, RetryPolicy(attempts=1, sleep=Pauses()))
    await play(
        bus, CreateBatch(ref="batch-CHAIR", sku="CHAIR", qty=10), Allocate(order_id="order-1", sku="CHAIR", qty=1)
    )
    first, second = received("message-1"), received("message-2")
    behind = Allocate(order_id="order-2", sku="CHAIR", qty=1)
    group = [Request(indirect, CAUSE, first), Request(behind, CAUSE, second)]
    async with raw_connection(database_url, cell_of=first.routing_key) as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(TAKE, first.id, first.source, first.content)

        outcomes = await getattr(bus, way)(group)

        await transaction.rollback()

    assert (await queries_over(engine).product("CHAIR")).allocated_qty == 1
    expected = ["deferred", "deferred"] if way == "run_shared" else ["unavailable", "unavailable"]
    assert ["deferred" if outcome.deferred else outcome.label for outcome in outcomes] == expected
    assert labels(await bus.run_apart(group)) == ["ok", "ok"]
    await engine.dispose()
