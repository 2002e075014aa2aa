"""The events that each command publishes: types, data, order, headers."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.conftest import World
from tests.support.api import new
from tests.support.wire import NO_LINES, NO_REASON

pytestmark = pytest.mark.kafka


async def test_an_event_is_a_cloudevent_in_binary_mode(world: World) -> None:
    sku, ref = new("sku"), new("batch")
    before = datetime.now(UTC)
    answer = await world.api.client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": 10, "eta": "2011-01-02"})
    (event,) = await world.wire.events(sku, 1)
    assert event.key == sku.encode()
    assert event.data == {"ref": ref, "sku": sku, "qty": 10, "eta": "2011-01-02"}
    headers = dict(event.headers)
    uuid.UUID(headers.pop("ce_id"))
    time = headers.pop("ce_time")
    assert before - timedelta(seconds=1) < datetime.fromisoformat(time) < before + timedelta(seconds=30)
    assert datetime.fromisoformat(time).utcoffset() is not None
    assert headers.pop("ce_correlationid")
    assert headers == {
        "ce_specversion": "1.0",
        "ce_type": "batch_created.v1",
        "ce_source": "/allocation",
        "ce_subject": sku,
        "ce_sequence": "1",
        "ce_causationid": answer.headers["x-request-id"],
        "content-type": "application/json",
    }


async def test_ids_differ_from_event_to_event(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 10)
    for qty in range(11, 20):
        await world.api.change(ref, qty=qty)
    assert len({event.headers["ce_id"] for event in await world.wire.events(sku, 10)}) == 10


async def test_correlation_causation_and_trace_of_a_request_are_handed_on(world: World) -> None:
    sku, ref = new("sku"), new("batch")
    request, conversation = new("request"), new("conversation")
    trace = f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"
    headers = {"x-request-id": request, "x-correlation-id": conversation, "traceparent": trace}
    await world.api.client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": 10}, headers=headers)
    (event,) = await world.wire.events(sku, 1)
    assert event.headers["ce_causationid"] == request
    assert event.headers["ce_correlationid"] == conversation
    assert event.headers["traceparent"].split("-")[1] == trace.split("-")[1]


async def test_events_of_batches(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 10, eta="2011-01-02")
    await world.api.change(ref, qty=12)
    await world.api.change(ref, eta="2011-03-04")
    await world.api.change(ref, eta=None)
    await world.api.change(ref, qty=0)
    assert await world.wire.stories(sku, 5) == [
        {"type": "batch_created.v1", "ref": ref, "qty": 10, "eta": "2011-01-02"},
        {"type": "batch_quantity_changed.v1", "ref": ref, "qty": 12, "eta": "2011-01-02", **NO_REASON},
        {"type": "batch_eta_changed.v1", "ref": ref, "qty": 12, "eta": "2011-03-04", **NO_LINES},
        {"type": "batch_eta_changed.v1", "ref": ref, "qty": 12, "eta": None, **NO_LINES},
        {"type": "batch_quantity_changed.v1", "ref": ref, "qty": 0, "eta": None, **NO_REASON},
    ]


async def test_commands_without_effect_publish_nothing(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 10, eta="2011-01-02")
    await world.api.client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": 10, "eta": "2011-01-02"})
    await world.api.change(ref, qty=10, eta="2011-01-02")
    order = await world.api.order(sku, 4)
    await world.api.allocate(sku, 4, order_id=order)
    await world.api.client.post("/v1/batches", json={"ref": ref, "sku": sku, "qty": 11})
    await world.api.client.delete(f"/v1/allocations/{new('order')}/{sku}")
    await world.api.change(ref, qty=20)
    types = [event.type for event in await world.wire.events(sku, 3)]
    assert types == ["batch_created.v1", "line_allocated.v1", "batch_quantity_changed.v1"]


async def test_events_of_lines(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 10)
    held = await world.api.order(sku, 10)
    queued = await world.api.order(sku, 3)
    await world.api.cancel(queued, sku)
    await world.api.cancel(held, sku)
    stories = await world.wire.stories(sku, 7)
    assert stories[:2] == [
        {"type": "batch_created.v1", "ref": ref, "qty": 10, "eta": None},
        {"type": "line_allocated.v1", "order_id": held, "qty": 10, "batch_ref": ref},
    ]
    # The contract does not fix the order of the two events of a queued line.
    assert sorted(stories[2:4], key=lambda story: str(story["type"])) == [
        {"type": "line_backordered.v1", "order_id": queued, "qty": 3},
        {"type": "out_of_stock.v1", "order_id": queued, "qty": 3},
    ]
    cancelled = {"type": "line_deallocated.v1", "reason": "cancelled"}
    assert stories[4:] == [
        cancelled | {"order_id": queued, "qty": 3, "batch_ref": None},
        cancelled | {"order_id": held, "qty": 10, "batch_ref": ref},
        {"type": "back_in_stock.v1", "available_qty": 10},
    ]


async def test_events_of_refusals_over_http(world: World) -> None:
    sku = new("sku")
    await world.api.record(sku, 10)
    held, refused = await world.api.order(sku, 4), new("order")
    await world.api.allocate(sku, 7, order_id=refused, if_unavailable="reject")
    await world.api.allocate(sku, 5, order_id=held)
    stories = await world.wire.stories(sku, 5)
    assert sorted(stories[2:4], key=lambda story: str(story["type"])) == [
        {"type": "allocation_failed.v1", "order_id": refused, "qty": 7, "reason": "out_of_stock"},
        {"type": "out_of_stock.v1", "order_id": refused, "qty": 7},
    ]
    assert stories[4:] == [{"type": "allocation_failed.v1", "order_id": held, "qty": 5, "reason": "conflict"}]


async def test_a_refusal_for_a_sku_that_does_not_exist_has_no_sequence(world: World) -> None:
    sku, order = new("sku"), new("order")
    answer = await world.api.allocate(sku, 7, order_id=order)
    (event,) = await world.wire.events(sku, 1)
    assert event.story == {"type": "allocation_failed.v1", "order_id": order, "qty": 7, "reason": "invalid_sku"}
    assert "ce_sequence" not in event.headers
    assert event.key == sku.encode()
    assert event.headers["ce_subject"] == sku
    assert event.headers["ce_causationid"] == answer.headers["x-request-id"]
    # The SKU begins to be counted with its first batch.
    await world.api.record(sku, 1)
    assert (await world.wire.events(sku, 2))[1].headers["ce_sequence"] == "1"


async def test_a_new_batch_and_what_the_queue_takes_of_it(world: World) -> None:
    sku = new("sku")
    await world.api.record(sku, 1)
    orders = [await world.api.order(sku, qty) for qty in (5, 9, 2)]
    ref = await world.api.record(sku, 8, eta="2011-01-01")
    assert (await world.wire.stories(sku, 10))[7:] == [
        {"type": "batch_created.v1", "ref": ref, "qty": 8, "eta": "2011-01-01"},
        {"type": "line_allocated.v1", "order_id": orders[0], "qty": 5, "batch_ref": ref},
        {"type": "line_allocated.v1", "order_id": orders[2], "qty": 2, "batch_ref": ref},
    ]


async def test_a_cancellation_and_what_the_queue_takes_of_it(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 5)
    held, queued = await world.api.order(sku, 5), await world.api.order(sku, 4)
    await world.api.cancel(held, sku)
    assert (await world.wire.stories(sku, 7))[4:] == [
        {"type": "line_deallocated.v1", "order_id": held, "qty": 5, "batch_ref": ref, "reason": "cancelled"},
        {"type": "line_allocated.v1", "order_id": queued, "qty": 4, "batch_ref": ref},
        {"type": "back_in_stock.v1", "available_qty": 1},
    ]


async def test_low_stock_and_back_in_stock_follow_the_events_that_caused_them(world: World) -> None:
    sku = new("sku")
    await world.api.record(sku, 4)
    coming = await world.api.record(sku, 6, eta="2011-01-01")
    await world.api.watch(sku, 8)
    await world.api.watch(sku, 8)
    for qty in (3, 1, 6):
        await world.api.order(sku, qty)
    await world.api.order(sku, 2)
    await world.api.change(coming, qty=9)
    stories = await world.wire.stories(sku, 11)
    low = {"type": "low_stock.v1", "available_qty": 7, "reorder_point": 8, "backordered_qty": 0, "incoming_qty": 6}
    assert stories[3] == low
    assert [story["type"] for story in stories[8:]] == [
        "batch_quantity_changed.v1",
        "line_allocated.v1",
        "back_in_stock.v1",
    ]
    assert stories[10] == {"type": "back_in_stock.v1", "available_qty": 1}


async def test_a_cut_publishes_the_batch_then_releases_then_placements(world: World) -> None:
    sku = new("sku")
    cut = await world.api.record(sku, 10)
    first, second, third = [await world.api.order(sku, 3) for _ in range(3)]
    other = await world.api.record(sku, 3, eta="2011-01-01")
    await world.api.change(cut, qty=4)
    stories = (await world.wire.stories(sku, 11))[5:]
    assert stories[0] == {"type": "batch_quantity_changed.v1", "ref": cut, "qty": 4, "eta": None, **NO_REASON}
    # Released are the third and then the second; placed in the order of their requests.
    released = {"type": "line_deallocated.v1", "qty": 3, "batch_ref": cut, "reason": "batch_quantity_changed"}
    assert stories[1:3] == [released | {"order_id": third}, released | {"order_id": second}]
    assert stories[3] == {"type": "line_allocated.v1", "order_id": second, "qty": 3, "batch_ref": other}
    assert sorted(stories[4:], key=lambda story: str(story["type"])) == [
        {"type": "line_backordered.v1", "order_id": third, "qty": 3},
        {"type": "out_of_stock.v1", "order_id": third, "qty": 3},
    ]
    assert await world.api.batch_of(first) == cut


async def test_a_line_that_returns_to_its_batch_causes_no_event(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 10)
    large, _small = await world.api.order(sku, 7), await world.api.order(sku, 3)
    await world.api.change(ref, qty=5)
    stories = (await world.wire.stories(sku, 7))[3:]
    assert {story.get("order_id", large) for story in stories} == {large}
    assert [story["type"] for story in stories[:2]] == ["batch_quantity_changed.v1", "line_deallocated.v1"]


async def test_lines_placed_on_stock_freed_by_a_cut_come_last(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 10)
    held, waiting = await world.api.order(sku, 10), await world.api.order(sku, 4)
    await world.api.change(ref, qty=9)
    stories = (await world.wire.stories(sku, 9))[4:]
    assert [story["type"] for story in stories[:2]] == ["batch_quantity_changed.v1", "line_deallocated.v1"]
    assert {story["order_id"] for story in stories[1:4]} == {held}
    assert stories[4] == {"type": "line_allocated.v1", "order_id": waiting, "qty": 4, "batch_ref": ref}


async def test_with_both_changes_the_batchs_events_come_first(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 6)
    order = await world.api.order(sku, 5)
    other = await world.api.record(sku, 5, eta="2011-01-01")
    await world.api.change(ref, qty=4, eta="2012-01-01")
    stories = (await world.wire.stories(sku, 7))[3:]
    assert {story["type"] for story in stories[:2]} == {"batch_eta_changed.v1", "batch_quantity_changed.v1"}
    assert [story["type"] for story in stories[2:]] == ["line_deallocated.v1", "line_allocated.v1"]
    assert (stories[3]["order_id"], stories[3]["batch_ref"]) == (order, other)
