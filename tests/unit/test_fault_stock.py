"""The oracle of `make faults` on counts, reorder points and locations of orders: it complains of each wrong effect."""

from dataclasses import replace
from typing import Any

import pytest

from faults.oracle import judge
from faults.story import BatchSeen, Event, LineSeen, OrderSeen, ProductSeen, Story
from tests.support.stories import Mutation, all_of, answer, ask, batch, change, drop, entry, insert, product

CHAIR = "CHAIR"
NORTH = {"location": "north"}
O1 = {"order_id": "o1", "sku": CHAIR, "qty": 6}
O2_LINE = {"sku": CHAIR, "qty": 3}
COUNTED = {"on_hand_qty": 2, "moved": []}


def event(sequence: int, type_: str, cause: str, **data: Any) -> Event:
    return Event(f"e{sequence}", type_, CHAIR, sequence, {"sku": CHAIR, **data}, cause)


def quantity(sequence: int, cause: str, ref: str, qty: int) -> Event:
    return event(sequence, "batch_quantity_changed.v1", cause, ref=ref, qty=qty, eta=None)


def counted(on_hand_qty: int, location: str = "main") -> dict[str, Any]:
    return {"sku": CHAIR, "on_hand_qty": on_hand_qty, "location": location}


def story() -> Story:
    """b1 of 10 and b2 of 5 are in main. o1 takes 6 and is shipped. b1 has 3 on hand, so 9 were purchased.

    A message counts 2 in main: b2 loses all of its 5 pieces, and b1 one. Stock is low. The count of 7 in north records
    a batch, and o2 gets 3 of it, because it asks for that location.
    """
    b1, b2 = ({"ref": ref, "sku": CHAIR, "qty": qty, "eta": None} for ref, qty in (("b1", 10), ("b2", 5)))
    o2 = {"order_id": "o2", "lines": [{**O2_LINE, "from": ["north"]}]}
    placed = {**O2_LINE, "order_id": "o2", "batch_ref": "new", "held_until": None}
    entries = [
        entry("c1", "create_batch", b1, (201, b1)),
        entry("c2", "create_batch", b2, (201, b2)),
        entry("c3", "set_reorder_point", {"sku": CHAIR, "qty": 4}, (200, {"reorder_point": 4})),
        entry("c4", "allocate", O1, (201, {**O1, "batch_ref": "b1"})),
        entry("c5", "ship", O1, (200, {**O1, "batch_ref": "b1", "status": "shipped"})),
        entry("c6", "change_batch", {"ref": "b1", "sku": CHAIR, "on_hand_qty": 3}, (200, {"moved": []})),
        entry(
            "c7", "change_batch", {"ref": "b1", "sku": CHAIR, "on_hand_qty": 3, "shipped_qty": 6}, (200, {"moved": []})
        ),
        entry("k1", "count_product", counted(2), (200, None), via="kafka"),
        entry("c8", "count_product", counted(2), (200, COUNTED)),
        entry("c9", "count_product", counted(7, "north"), (200, {"on_hand_qty": 7, "moved": []})),
        entry("c10", "place_order", o2, (201, {"lines": [placed], "complete": True})),
        entry("c11", "set_reorder_point", {"sku": CHAIR, "qty": 0}, (200, {"reorder_point": None})),
    ]
    events = [
        event(1, "batch_created.v1", "c1", ref="b1", qty=10, eta=None),
        event(2, "batch_created.v1", "c2", ref="b2", qty=5, eta=None),
        event(3, "line_allocated.v1", "c4", **O1, batch_ref="b1"),
        event(4, "line_shipped.v1", "c5", **O1, batch_ref="b1"),
        quantity(5, "c6", "b1", 9),
        quantity(6, "k1", "b2", 0),
        quantity(7, "k1", "b1", 8),
        event(8, "low_stock.v1", "k1", available_qty=2, reorder_point=4),
        event(9, "batch_created.v1", "c9", ref="new", qty=7, eta=None, location="north"),
        event(10, "line_allocated.v1", "c10", order_id="o2", qty=3, batch_ref="new"),
        Event("o2-placed", "order_placed.v1", "o2", None, {"order_id": "o2", "lines": [O2_LINE]}, "c10"),
    ]
    batches = [
        BatchSeen("b1", CHAIR, 8, None, 0, 2, 6),
        BatchSeen("b2", CHAIR, 0, None, 0, 0),
        BatchSeen("new", CHAIR, 7, None, 3, 4, location="north"),
    ]
    lines = [LineSeen("o1", CHAIR, 6, "shipped", "b1", None), LineSeen("o2", CHAIR, 3, "allocated", "new", None)]
    return Story(
        entries=entries,
        events=events,
        batches={each.ref: each for each in batches},
        lines={(each.order_id, each.sku): each for each in lines},
        orders={"o2": OrderSeen("o2", complete=True, earliest_eta=None)},
        products={CHAIR: ProductSeen(CHAIR, 6, 3, 0, 6)},
        inbound=["k1"],
        inbox=["k1"],
    )


def ship_later(wrong: Story) -> None:
    """The line is shipped after the count of the batch."""
    ids = [each.id for each in wrong.events]
    wrong.events.insert(ids.index("e5"), wrong.events.pop(ids.index("e4")))
    wrong.events[3], wrong.events[4] = (replace(wrong.events[4], sequence=4), replace(wrong.events[3], sequence=5))


MUTATIONS: dict[str, tuple[Mutation, str]] = {
    "a count of a batch lost": (drop("e5"), "the quantity was changed 0 times, not 1"),
    "a count of a batch with an effect twice": (insert("e6", quantity(0, "c6", "b1", 9)), "changed 2 times, not 1"),
    "a count of a batch without what was shipped": (
        change("e5", data={"sku": CHAIR, "ref": "b1", "qty": 3, "eta": None}),
        "it should be (9, None) then",
    ),
    "a count that knew another shipped quantity": (ask("c7", shipped_qty=5), "the quantity was changed 0 times, not 1"),
    "a count of a product lost": (
        drop("e6", "e7", "e8"),
        "14 pieces were purchased after it, and of them [0, 6] shipped",
    ),
    "half a count of a product lost": (drop("e6"), "13 pieces were purchased after it, and of them [6] shipped"),
    "a count that did not cut enough": (
        change("e7", data={"sku": CHAIR, "ref": "b1", "qty": 9, "eta": None}),
        "9 pieces were purchased after it, and of them [6] shipped",
    ),
    "a count that changed nothing and should have": (ask("c8", on_hand_qty=3), "8 pieces were purchased after it"),
    "a count in another location": (ask("c9", location="south"), "the quantity of new was changed 1 times, not 0"),
    "a count with another answer": (answer("c8", (200, {**COUNTED, "on_hand_qty": 5})), "the answer says"),
    "a count that was refused": (
        answer("c8", (409, {"code": "quantity-changed"})),
        "the answer should be one of [200]",
    ),
    "a count whose effect is not read": (batch("b2", qty=5, available_qty=5), "its client believes (0, None)"),
    "a batch that none recorded": (
        insert("e10", event(0, "batch_created.v1", "c4", ref="b4", qty=1, eta=None)),
        "batch_created.v1 of CHAIR 10 was caused by",
    ),
    "a reorder point lost": (product(CHAIR, reorder_point=4), "has another reorder point than None"),
    "a reorder point with another answer": (answer("c3", (200, {"reorder_point": 5})), "the answer says"),
    "low stock at a wrong reorder point": (
        insert("e4", event(0, "low_stock.v1", "c3", available_qty=9, reorder_point=10)),
        "its events say",
    ),
    "low stock that is not low": (change("e8", data={"sku": CHAIR, "available_qty": 2, "reorder_point": 2}), "enough"),
    "an order that does not get its location": (
        all_of(ask("c10", lines=[{**O2_LINE, "from": ["main"]}])),
        "the line may not have it",
    ),
}


def test_a_story_that_is_right_is_left_alone() -> None:
    assert judge(story()).complaints == []


def test_a_count_without_the_shipped_quantity_may_come_before_or_after_a_shipment() -> None:
    right = story()
    # The shipment belongs to another client, so without an event of the count its place is not known.
    right.entries = [each for each in right.entries if each.id != "c6"]
    right.entries.insert(
        3, entry("c6", "change_batch", {"ref": "b1", "sku": CHAIR, "on_hand_qty": 10}, (200, {"moved": []}))
    )
    drop("e5")(right)
    change("e7", data={"sku": CHAIR, "ref": "b1", "qty": 8, "eta": None})(right)
    ask("c7", on_hand_qty=4)(right)

    assert judge(right).complaints == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_story_that_is_wrong_is_complained_of(name: str) -> None:
    mutate, complaint = MUTATIONS[name]
    wrong = story()

    mutate(wrong)

    complaints = judge(wrong).complaints
    assert any(complaint in each for each in complaints), complaints
