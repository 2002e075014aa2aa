"""Messages of upstream systems over Kafka: each type, in both modes, with its effects and its refusals."""

import uuid
from collections.abc import Callable

import pytest

from tests.e2e.conftest import World, barrier
from tests.support.api import Json, new
from tests.support.waiting import eventually
from tests.support.wire import NO_LINES, NO_REASON

pytestmark = pytest.mark.kafka

Send = Callable[..., str]


@pytest.fixture(params=["binary", "structured"])
def send(world: World, request: pytest.FixtureRequest) -> Send:
    """Sends a message in one mode or the other. Returns its id."""
    modes: dict[str, Send] = {"binary": world.wire.send, "structured": world.wire.send_structured}
    return modes[request.param]


async def test_a_batch_is_recorded(world: World, send: Send) -> None:
    sku, ref = new("sku"), new("batch")
    message = send("batch_created.v1", {"ref": ref, "sku": sku, "qty": 10, "eta": "2011-01-02"})
    (event,) = await world.wire.events(sku, 1)
    assert event.story == {"type": "batch_created.v1", "ref": ref, "qty": 10, "eta": "2011-01-02"}
    assert event.headers["ce_causationid"] == message
    assert (await world.api.batch(ref))["eta"] == "2011-01-02"


@pytest.mark.parametrize("eta", [{}, {"eta": None}], ids=["left out", "null"])
async def test_a_batch_without_eta_is_in_the_warehouse(world: World, send: Send, eta: Json) -> None:
    sku, ref = new("sku"), new("batch")
    send("batch_created.v1", {"ref": ref, "sku": sku, "qty": 10, **eta})
    (event,) = await world.wire.events(sku, 1)
    assert event.data["eta"] is None


async def test_the_quantity_and_the_eta_of_a_batch_are_changed(world: World, send: Send) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 10, eta="2011-01-02")
    quantity = send("batch_quantity_changed.v1", {"ref": ref, "qty": 0}, key=sku)
    eta = send("batch_eta_changed.v1", {"ref": ref, "eta": "2012-03-04"}, key=sku)
    arrival = send("batch_eta_changed.v1", {"ref": ref, "eta": None}, key=sku)
    events = (await world.wire.events(sku, 4))[1:]
    assert [event.story for event in events] == [
        {"type": "batch_quantity_changed.v1", "ref": ref, "qty": 0, "eta": "2011-01-02", **NO_REASON},
        {"type": "batch_eta_changed.v1", "ref": ref, "qty": 0, "eta": "2012-03-04", **NO_LINES},
        {"type": "batch_eta_changed.v1", "ref": ref, "qty": 0, "eta": None, **NO_LINES},
    ]
    assert [event.headers["ce_causationid"] for event in events] == [quantity, eta, arrival]


async def test_a_line_is_shipped_once_and_cannot_be_cancelled_then(world: World, send: Send) -> None:
    sku, order = new("sku"), new("order")
    ref = await world.api.record(sku, 10)
    await world.api.order(sku, 4, order_id=order)
    shipped = send("line_shipped.v1", {"order_id": order, "sku": sku})
    send("line_shipped.v1", {"order_id": order, "sku": sku})
    send("allocation_cancelled.v1", {"order_id": order, "sku": sku})
    send("batch_eta_changed.v1", {"ref": ref, "eta": "2012-03-04"}, key=sku)
    events = (await world.wire.events(sku, 4))[2:]
    assert [event.story for event in events] == [
        {"type": "line_shipped.v1", "order_id": order, "qty": 4, "batch_ref": ref},
        {"type": "batch_eta_changed.v1", "ref": ref, "qty": 10, "eta": "2012-03-04", **NO_LINES},
    ]
    assert events[0].headers["ce_causationid"] == shipped
    assert [line["status"] for line in await world.api.lines(order)] == ["shipped"]


async def test_stock_is_counted_by_batch_and_by_product(world: World, send: Send) -> None:
    sku, order, counted = new("sku"), new("order"), new("sku")
    ref = await world.api.record(sku, 10)
    await world.api.order(sku, 4, order_id=order)
    why = {"reason": "recount", "reference": "list 3"}
    count = send("stock_counted.v1", {"ref": ref, "on_hand_qty": 7, "shipped_qty": 4, **why}, key=sku)
    send("line_shipped.v1", {"order_id": order, "sku": sku})
    send("stock_counted.v1", {"ref": ref, "on_hand_qty": 7, "shipped_qty": 4, **why}, key=sku)
    send("stock_counted.v1", {"sku": sku, "on_hand_qty": 6, "expected_on_hand_qty": 7, "reason": "lost"})
    events = (await world.wire.events(sku, 5))[2:]
    assert [event.story for event in events] == [
        {"type": "batch_quantity_changed.v1", "ref": ref, "qty": 11, "eta": None, **why},
        {"type": "line_shipped.v1", "order_id": order, "qty": 4, "batch_ref": ref},
        {"type": "batch_quantity_changed.v1", "ref": ref, "qty": 10, "eta": None, "reason": "lost", "reference": None},
    ]
    assert events[0].headers["ce_causationid"] == count

    send("stock_counted.v1", {"sku": counted, "on_hand_qty": 5})
    (created,) = await world.wire.events(counted, 1)
    assert (created.type, created.data["qty"], created.data["eta"]) == ("batch_created.v1", 5, None)
    assert (await world.api.batch(created.data["ref"]))["available_qty"] == 5


async def test_reasons_are_published_and_a_delay_names_and_moves_lines(world: World, send: Send) -> None:
    sku, order = new("sku"), new("order")
    late = await world.api.record(sku, 10, eta="2011-01-02")
    sooner = await world.api.record(sku, 10, eta="2011-01-03")
    await world.api.order(sku, 4, order_id=order)
    why = {"reason": "customs", "reference": "letter 4"}
    send("batch_quantity_changed.v1", {"ref": late, "qty": 9, **why}, key=sku)
    send("batch_eta_changed.v1", {"ref": late, "eta": "2011-02-01", "reallocate": True}, key=sku)
    concerned = {"order_ids": [order], "order_count": 1}
    left = {"batch_ref": late, "reason": "batch_eta_changed"}
    assert [event.story for event in (await world.wire.events(sku, 7))[3:]] == [
        {"type": "batch_quantity_changed.v1", "ref": late, "qty": 9, "eta": "2011-01-02", **why},
        {"type": "batch_eta_changed.v1", "ref": late, "qty": 9, "eta": "2011-02-01", **concerned},
        {"type": "line_deallocated.v1", "order_id": order, "qty": 4, **left},
        {"type": "line_allocated.v1", "order_id": order, "qty": 4, "batch_ref": sooner},
    ]


async def test_lines_are_placed_queued_and_cancelled(world: World, send: Send) -> None:
    sku, held, queued = new("sku"), new("order"), new("order")
    ref = await world.api.record(sku, 10)
    send("allocation_required.v1", {"order_id": held, "sku": sku, "qty": 10})
    send("allocation_required.v1", {"order_id": queued, "sku": sku, "qty": 4, "if_unavailable": "backorder"})
    send("allocation_cancelled.v1", {"order_id": held, "sku": sku})
    stories = await world.wire.stories(sku, 7)
    assert stories[1] == {"type": "line_allocated.v1", "order_id": held, "qty": 10, "batch_ref": ref}
    assert {"type": "line_backordered.v1", "order_id": queued, "qty": 4} in stories[2:4]
    assert stories[4:] == [
        {"type": "line_deallocated.v1", "order_id": held, "qty": 10, "batch_ref": ref, "reason": "cancelled"},
        {"type": "line_allocated.v1", "order_id": queued, "qty": 4, "batch_ref": ref},
        {"type": "back_in_stock.v1", "available_qty": 6},
    ]
    assert await world.api.lines(held) == []
    assert await world.api.batch_of(queued) == ref


async def test_a_line_changes_its_quantity_or_stays_as_it_was(world: World, send: Send) -> None:
    sku, order = new("sku"), new("order")
    ref = await world.api.record(sku, 10)
    await world.api.order(sku, 4, order_id=order)
    send("line_quantity_changed.v1", {"order_id": order, "sku": sku, "qty": 6}, key=sku)
    send("line_quantity_changed.v1", {"order_id": order, "sku": sku, "qty": 11}, key=sku)
    left = {"batch_ref": ref, "reason": "cancelled", "new_qty": 6}
    assert (await world.wire.stories(sku, 6))[2:] == [
        {"type": "line_deallocated.v1", "order_id": order, "qty": 4, **left},
        {"type": "line_allocated.v1", "order_id": order, "qty": 6, "batch_ref": ref},
        {"type": "out_of_stock.v1", "order_id": order, "qty": 11},
        {"type": "allocation_failed.v1", "order_id": order, "qty": 11, "reason": "out_of_stock"},
    ]
    assert [line["qty"] for line in await world.api.lines(order)] == [6]


async def test_the_correlation_id_is_handed_on_to_all_that_follows(world: World, send: Send) -> None:
    sku, conversation = new("sku"), new("conversation")
    await world.api.record(sku, 1)
    queued = await world.api.order(sku, 5)
    data = {"ref": new("batch"), "sku": sku, "qty": 5}
    message = send("batch_created.v1", data, correlationid=conversation)
    events = (await world.wire.events(sku, 5))[3:]
    assert [event.type for event in events] == ["batch_created.v1", "line_allocated.v1"]
    assert events[1].data["order_id"] == queued
    assert {event.headers["ce_correlationid"] for event in events} == {conversation}
    assert {event.headers["ce_causationid"] for event in events} == {message}


async def test_a_trace_is_handed_on(world: World) -> None:
    sku, trace = new("sku"), uuid.uuid4().hex
    headers = [("ce_id", new("id").encode()), ("ce_type", b"batch_created.v1"), ("ce_specversion", b"1.0")]
    headers += [("traceparent", f"00-{trace}-{uuid.uuid4().hex[:16]}-01".encode()), ("ce_source", b"/tests")]
    world.wire.send_raw(headers, f'{{"ref": "{new("batch")}", "sku": "{sku}", "qty": 1}}'.encode())
    (event,) = await world.wire.events(sku, 1)
    assert event.headers["traceparent"].split("-")[1] == trace


async def test_unknown_fields_and_attributes_are_ignored(world: World, send: Send) -> None:
    sku, order = new("sku"), new("order")
    batch = {"ref": new("batch"), "sku": sku, "qty": 10, "colour": "red", "more": {"deep": [1]}}
    send("batch_created.v1", batch, unknown="attribute")
    line = {"order_id": order, "sku": sku, "qty": 4, "urgency": None}
    send("allocation_required.v1", line, dataschema="https://example.org/schema")
    assert [event.type for event in await world.wire.events(sku, 2)] == ["batch_created.v1", "line_allocated.v1"]


@pytest.mark.parametrize(
    "header", [("empty", None), ("trace-bin", b"\x00\xff\xfe"), ("ce_extension", b"\xc3\x28")], ids=str
)
async def test_headers_of_others_are_ignored_whatever_they_hold(world: World, header: tuple[str, bytes | None]) -> None:
    sku = new("sku")
    headers: list[tuple[str, bytes | None]] = [("ce_id", new("id").encode()), ("ce_type", b"batch_created.v1")]
    headers += [("ce_specversion", b"1.0"), ("ce_source", b"/tests"), header]
    world.wire.send_raw(headers, f'{{"ref": "{new("batch")}", "sku": "{sku}", "qty": 1}}'.encode())
    assert [event.type for event in await world.wire.events(sku, 1)] == ["batch_created.v1"]


async def test_an_unknown_sku_is_answered_without_a_sequence(world: World, send: Send) -> None:
    sku, order, conversation = new("sku"), new("order"), new("conversation")
    line = {"order_id": order, "sku": sku, "qty": 4}
    message = send("allocation_required.v1", line, correlationid=conversation)
    (event,) = await world.wire.events(sku, 1)
    assert event.story == {"type": "allocation_failed.v1", "order_id": order, "qty": 4, "reason": "invalid_sku"}
    assert "ce_sequence" not in event.headers
    assert event.headers["ce_causationid"] == message
    assert event.headers["ce_correlationid"] == conversation


async def test_out_of_stock_and_a_conflict_are_answered(world: World, send: Send) -> None:
    sku, order, refused = new("sku"), new("order"), new("order")
    await world.api.record(sku, 10)
    send("allocation_required.v1", {"order_id": order, "sku": sku, "qty": 4})
    send("allocation_required.v1", {"order_id": refused, "sku": sku, "qty": 7, "if_unavailable": "reject"})
    send("allocation_required.v1", {"order_id": order, "sku": sku, "qty": 5})
    stories = await world.wire.stories(sku, 5)
    assert {"type": "out_of_stock.v1", "order_id": refused, "qty": 7} in stories[2:4]
    failed = {"type": "allocation_failed.v1"}
    assert failed | {"order_id": refused, "qty": 7, "reason": "out_of_stock"} in stories[2:4]
    assert stories[4] == failed | {"order_id": order, "qty": 5, "reason": "conflict"}
    assert await world.api.lines(refused) == []


async def test_a_refusal_without_a_line_is_logged_and_counted(world: World) -> None:
    sku, unknown, conflicting = new("sku"), new("batch"), new("batch")
    await world.api.record(sku, 10, ref=conflicting)

    async def refusals() -> float:
        lines = (await world.api.client.get("/metrics")).text.splitlines()
        counted = [line for line in lines if "inbound" in line and ("batch-not-found" in line or "conflict" in line)]
        return sum(float(line.rpartition(" ")[2]) for line in counted if "_created" not in line)

    before = await refusals()
    sent = [
        world.wire.send("batch_quantity_changed.v1", {"ref": unknown, "qty": 3}, key=sku),
        world.wire.send("batch_eta_changed.v1", {"ref": unknown, "eta": None}, key=sku),
        world.wire.send("batch_created.v1", {"ref": conflicting, "sku": sku, "qty": 11}),
    ]
    await barrier(world, sku)
    assert await refusals() == before + 3
    await world.api.change(conflicting, qty=12)
    assert [event.type for event in await world.wire.events(sku, 2)] == [
        "batch_created.v1",
        "batch_quantity_changed.v1",
    ]
    assert world.wire.so_far(unknown) == []

    async def logged() -> bool:
        return all(message in world.command.output for message in sent)

    await eventually(logged)


async def test_cancelling_an_unknown_line_changes_and_delays_nothing(world: World) -> None:
    sku = new("sku")
    ref = await world.api.record(sku, 10)
    world.wire.send("allocation_cancelled.v1", {"order_id": new("order"), "sku": sku})
    world.wire.send("allocation_cancelled.v1", {"order_id": new("order"), "sku": new("sku")}, key=sku)
    world.wire.send("batch_quantity_changed.v1", {"ref": ref, "qty": 11}, key=sku)
    assert [event.type for event in await world.wire.events(sku, 2)] == [
        "batch_created.v1",
        "batch_quantity_changed.v1",
    ]
