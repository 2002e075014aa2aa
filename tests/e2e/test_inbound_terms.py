"""Messages of upstream systems about places, shelf life and blocking, with what is published of them."""

from collections.abc import Callable

import pytest

from tests.e2e.conftest import World
from tests.support.api import Json, new

pytestmark = pytest.mark.kafka

Send = Callable[..., str]


@pytest.fixture(params=["binary", "structured"])
def send(world: World, request: pytest.FixtureRequest) -> Send:
    """Sends a message in one mode or the other. Returns its id."""
    modes: dict[str, Send] = {"binary": world.wire.send, "structured": world.wire.send_structured}
    return modes[request.param]


async def test_the_terms_of_a_batch_are_recorded_changed_and_published(world: World, send: Send) -> None:
    sku, ref = new("sku"), new("batch")
    terms: Json = {"location": "berlin", "best_before": "2099-06-30", "blocked": True}
    send("batch_created.v1", {"ref": ref, "sku": sku, "qty": 10, **terms})
    created = (await world.wire.stories(sku, 1))[0]
    changed = send("batch_changed.v1", {"ref": ref, "best_before": None, "blocked": False}, key=sku)
    send("batch_changed.v1", {"ref": ref, "blocked": False}, key=sku)
    send("batch_changed.v1", {"ref": ref, "location": "main"}, key=sku)
    events = (await world.wire.events(sku, 4))[1:]
    batch = {"ref": ref, "qty": 10, "eta": None}
    assert created == {"type": "batch_created.v1", **batch, **terms}
    now_good = {"location": "berlin", "best_before": None, "blocked": False}
    assert [event.story for event in events] == [
        {"type": "batch_changed.v1", **batch, **now_good},
        {"type": "back_in_stock.v1", "available_qty": 10},
        {"type": "batch_changed.v1", **batch, **now_good, "location": "main"},
    ]
    assert events[0].headers["ce_causationid"] == changed
    assert (await world.api.batch(ref))["available_qty"] == 10


async def test_a_recall_moves_the_lines_of_a_batch(world: World, send: Send) -> None:
    sku, order = new("sku"), new("order")
    bad = await world.api.record(sku, 10)
    await world.api.order(sku, 4, order_id=order)
    good = await world.api.record(sku, 5)
    send("batch_changed.v1", {"ref": bad, "blocked": True, "reallocate": True}, key=sku)
    left = {"batch_ref": bad, "reason": "batch_blocked"}
    terms = {"location": "main", "best_before": None, "blocked": True}
    assert (await world.wire.stories(sku, 6))[3:] == [
        {"type": "batch_changed.v1", "ref": bad, "qty": 10, "eta": None, **terms},
        {"type": "line_deallocated.v1", "order_id": order, "qty": 4, **left},
        {"type": "line_allocated.v1", "order_id": order, "qty": 4, "batch_ref": good},
    ]


async def test_lines_and_orders_get_what_they_require(world: World, send: Send) -> None:
    sku, line, order = new("sku"), new("order"), new("order")
    await world.api.record(sku, 10, best_before="2098-12-31")
    oslo = await world.api.record(sku, 10, location="oslo", best_before="2099-12-31")
    needs = {"from": ["rome", "oslo", "main"], "good_until": "2099-01-01"}
    send("allocation_required.v1", {"order_id": line, "sku": sku, "qty": 1, **needs})
    send("order_placed.v1", {"order_id": order, "lines": [{"sku": sku, "qty": 2, **needs}]}, key=sku)
    stories = (await world.wire.stories(sku, 4))[2:]
    assert sorted(stories, key=lambda story: story["qty"]) == [
        {"type": "line_allocated.v1", "order_id": line, "qty": 1, "batch_ref": oslo},
        {"type": "line_allocated.v1", "order_id": order, "qty": 2, "batch_ref": oslo},
    ]
    assert await world.api.batch_of(line) == oslo


async def test_named_lines_are_placed_shipped_and_cancelled_by_their_names(world: World, send: Send) -> None:
    sku, order = new("sku"), new("order")
    ref = await world.api.record(sku, 11)
    send("allocation_required.v1", {"order_id": order, "sku": sku, "qty": 6, "line": "a"})
    await world.wire.stories(sku, 2)
    send("allocation_required.v1", {"order_id": order, "sku": sku, "qty": 4, "line": "b"})
    await world.wire.stories(sku, 3)
    send("line_shipped.v1", {"order_id": order, "sku": sku, "line": "a"}, key=sku)
    await world.wire.stories(sku, 4)
    send("allocation_cancelled.v1", {"order_id": order, "sku": sku, "line": "b"}, key=sku)
    a, b = ({"order_id": order, "qty": qty, "line": name, "batch_ref": ref} for qty, name in ((6, "a"), (4, "b")))
    assert (await world.wire.stories(sku, 5))[1:] == [
        {"type": "line_allocated.v1", **a},
        {"type": "line_allocated.v1", **b},
        {"type": "line_shipped.v1", **a},
        {"type": "line_deallocated.v1", **b, "reason": "cancelled"},
    ]
