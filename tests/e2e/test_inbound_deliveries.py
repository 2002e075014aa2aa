"""Deliveries of inbound messages: once per id, in the order of a key, from every topic."""

from typing import Any

import pytest

from tests.e2e.conftest import World, barrier
from tests.support.api import new

pytestmark = pytest.mark.kafka


async def test_a_message_takes_effect_once_however_often_it_is_delivered(world: World) -> None:
    sku, order, once = new("sku"), new("order"), new("id")
    ref = await world.api.record(sku, 10)
    line = {"order_id": order, "sku": sku, "qty": 4}
    world.wire.send("allocation_required.v1", line, ce_id=once)
    world.wire.send("allocation_cancelled.v1", {"order_id": order, "sku": sku})
    for _ in range(3):
        world.wire.send("allocation_required.v1", line, ce_id=once)
    await barrier(world, sku)
    # If the message took effect again, the line would exist again.
    assert await world.api.lines(order) == []
    await world.api.change(ref, qty=11)
    types = [event.type for event in await world.wire.events(sku, 4)]
    assert types == ["batch_created.v1", "line_allocated.v1", "line_deallocated.v1", "batch_quantity_changed.v1"]


async def test_an_id_counts_once_whatever_the_mode_the_key_and_the_content(world: World) -> None:
    sku, once = new("sku"), new("id")
    ref = await world.api.record(sku, 10)
    world.wire.send("batch_quantity_changed.v1", {"ref": ref, "qty": 11}, ce_id=once, key=sku)
    await world.wire.events(sku, 2)
    world.wire.send_structured("batch_quantity_changed.v1", {"ref": ref, "qty": 12}, id=once, key=sku)
    world.wire.send("batch_quantity_changed.v1", {"ref": ref, "qty": 13}, ce_id=once, key=new("key"))
    await barrier(world, sku)
    world.wire.send("batch_eta_changed.v1", {"ref": ref, "eta": "2011-01-02"}, key=sku)
    stories = await world.wire.stories(sku, 3)
    assert [(story["type"], story["qty"]) for story in stories[1:]] == [
        ("batch_quantity_changed.v1", 11),
        ("batch_eta_changed.v1", 11),
    ]


async def test_a_refusal_is_answered_once_however_often_it_is_delivered(world: World) -> None:
    sku, order, once = new("sku"), new("order"), new("id")
    for _ in range(3):
        world.wire.send("allocation_required.v1", {"order_id": order, "sku": sku, "qty": 4}, ce_id=once)
    await barrier(world, sku)
    await world.api.record(sku, 1)
    assert [event.type for event in await world.wire.events(sku, 2)] == ["allocation_failed.v1", "batch_created.v1"]


@pytest.mark.parametrize("key", ["another-sku", "", None, b"\xff\x00"], ids=repr)
async def test_the_data_decide_whatever_the_key(world: World, key: Any) -> None:  # noqa: ANN401 - any key at all
    sku, ref = new("sku"), new("batch")
    headers = [("ce_id", new("id").encode()), ("ce_type", b"batch_created.v1"), ("ce_specversion", b"1.0")]
    headers.append(("ce_source", b"/tests"))
    world.wire.send_raw(headers, f'{{"ref": "{ref}", "sku": "{sku}", "qty": 1}}'.encode(), key=key)
    (event,) = await world.wire.events(sku, 1)
    assert (event.key, event.data["ref"]) == (sku.encode(), ref)


async def test_messages_with_one_key_take_effect_in_their_order(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 10)
    for qty in range(100, 130):
        world.wire.send("batch_quantity_changed.v1", {"ref": ref, "qty": qty}, key=sku)
    changes = (await world.wire.events(sku, 31))[1:]
    assert [event.data["qty"] for event in changes] == list(range(100, 130))


async def test_every_topic_of_the_setting_is_read(world: World) -> None:
    sku = new("sku")
    first, second = world.settings.kafka_inbound_topics
    assert world.wire.inbound_topic == first
    world.wire.inbound_topic = second
    try:
        world.wire.send("batch_created.v1", {"ref": new("batch"), "sku": sku, "qty": 1})
    finally:
        world.wire.inbound_topic = first
    assert [event.type for event in await world.wire.events(sku, 1)] == ["batch_created.v1"]
