"""A cut announced over a real broker moves a line to another batch."""

import pytest

from tests.e2e.conftest import World
from tests.support.api import new
from tests.support.wire import NO_REASON

pytestmark = pytest.mark.kafka


async def test_a_cut_announced_over_kafka_moves_the_line_to_the_newer_batch(world: World) -> None:
    sku, order = new("sku"), new("order")
    old = await world.api.record(sku, 10, eta="2011-01-01")
    newer = await world.api.record(sku, 10, eta="2011-01-02")
    placed = await world.api.allocate(sku, 10, order_id=order)
    assert (placed.status_code, placed.json()["batch_ref"]) == (201, old)
    await world.wire.events(sku, 3)

    message = world.wire.send("batch_quantity_changed.v1", {"ref": old, "qty": 5})

    events = (await world.wire.events(sku, 6))[3:]
    assert [event.story for event in events] == [
        {"type": "batch_quantity_changed.v1", "ref": old, "qty": 5, "eta": "2011-01-01", **NO_REASON},
        {
            "type": "line_deallocated.v1",
            "order_id": order,
            "qty": 10,
            "batch_ref": old,
            "reason": "batch_quantity_changed",
        },
        {"type": "line_allocated.v1", "order_id": order, "qty": 10, "batch_ref": newer},
    ]
    assert {event.headers["ce_causationid"] for event in events} == {message}
    line = {"order_id": order, "sku": sku, "qty": 10, "status": "allocated", "batch_ref": newer, "eta": "2011-01-02"}
    line |= {"held_until": None}
    assert await world.api.lines(order) == [line]
