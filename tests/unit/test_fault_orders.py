"""The oracle of `make faults` on orders of several lines: it complains of each half placed, lost or placed twice."""

import pytest

from faults.oracle import judge
from faults.story import OrderSeen, Story
from tests.support.order_stories import (
    CHAIR,
    O1_PLACED,
    TABLE,
    accepted,
    line,
    message_lines,
    of_order,
    of_product,
    order,
    order_story,
    other_batch,
)
from tests.support.stories import Mutation, all_of, answer, ask, change, drop, entry, insert, over_kafka


def swap_orders(spoilt: Story) -> None:
    ids = [each.id for each in spoilt.events]
    spoilt.events.insert(ids.index("o1-placed"), spoilt.events.pop(ids.index("o1-cancelled")))


MUTATIONS: dict[str, tuple[Mutation, str]] = {
    "an order half placed": (drop("TABLE-2"), "its line of TABLE was accepted 0 times"),
    "an order half placed over Kafka": (drop("CHAIR-3"), "its line of CHAIR was accepted 0 times"),
    "an order that was not published": (drop("o1-placed"), "the order was published as placed 0 times"),
    "an order published with other lines": (
        change("o1-placed", data=order("o1", {CHAIR: 3})),
        "the event says",
    ),
    "an order placed twice": (
        insert(None, of_order("", "order_placed.v1", "o1", "c4", {CHAIR: 3, TABLE: 4})),
        "the order was known, and was published as placed 1 times",
    ),
    "an order placed twice by one command": (
        insert(None, of_order("", "order_placed.v1", "o2", "k1", {CHAIR: 2, TABLE: 1})),
        "the order was published as placed 2 times",
    ),
    "an order whose lines were placed twice": (
        insert("CHAIR-3", accepted("c4", "o1", 3)),
        "the order was known, and lines of it were accepted 1 times",
    ),
    "an order of which another was accepted": (
        insert(None, accepted("c5", "o1", 1)),
        "the order was known with other lines, and lines of it were accepted 1 times",
    ),
    "a refused order of which a line was kept": (
        insert("CHAIR-4", accepted("c6", "o3", 1)),
        "the order was refused, and lines of it were accepted 1 times",
    ),
    "an order of an unknown SKU of which a line was kept": (
        insert(None, accepted("c12", "o4", 1)),
        "an order of an unknown SKU, and lines of it were accepted 1 times",
    ),
    "an order of which a line waits that was not to": (
        ask("k1", if_unavailable="reject"),
        "its lines of ['TABLE'] wait",
    ),
    "a refusal that was not published": (drop("o3-refused"), "should be refused for out_of_stock"),
    "a refusal of a message published twice": (
        all_of(
            over_kafka("c12"),
            insert(None, of_order("", "order_refused.v1", "o4", "c12", {"MISSING": 1}, reason="invalid_sku")),
        ),
        "a message was refused 2 times",
    ),
    "a refusal for other lines": (
        change("o3-refused", data={**order("o3", {CHAIR: 1}), "reason": "out_of_stock"}),
        "it is refused for {(('CHAIR', 1), 'out_of_stock'): 1}",
    ),
    "an answer of an order with another batch": (
        answer("c3", (201, {"lines": [other_batch(each) for each in O1_PLACED["lines"]], "complete": True})),
        "the answer says",
    ),
    "an answer of an order that is not complete": (
        answer("c3", (201, {**O1_PLACED, "complete": False})),
        "complete=False",
    ),
    "a refused order answered as accepted": (
        answer("c6", (201, O1_PLACED | {"complete": True})),
        "placed 0 times",
    ),
    "a cancelled order of which a line stays": (drop("TABLE-7", "TABLE-8", "TABLE-9"), "the order was to lose"),
    "a cancellation that was not published": (drop("o2-cancelled"), "the order was published as cancelled 0 times"),
    "a cancellation published with other lines": (
        change("o1-cancelled", data=order("o1", {CHAIR: 3, TABLE: 4})),
        "cancelled were [('TABLE', 4)]",
    ),
    "a cancellation of an order that is gone": (
        insert(None, of_order("", "order_cancelled.v1", "o9", "c13", {CHAIR: 1})),
        "the order was published as cancelled 1 times",
    ),
    "an order with shipped lines that is said to be gone": (
        answer("c11", (None, None), (404, None)),
        "should be one of",
    ),
    "an order that was cancelled before it was placed": (
        swap_orders,
        "o1 has order_cancelled.v1 by c11, order_placed.v1",
    ),
    "an order that is shown to wait and does not": (
        lambda wrong: wrong.orders.update(o1=OrderSeen("o1", False, None)),
        "complete=False, earliest_eta=None) does not follow",
    ),
    "an order that is shown to leave on another day": (
        lambda wrong: wrong.orders.update(o1=OrderSeen("o1", True, "2031-01-01")),
        "earliest_eta='2031-01-01') does not follow",
    ),
    "an order with a sequence": (change("o1-placed", sequence=1), "bears the sequence 1"),
    "events of an order in two partitions": (change("o1-cancelled", partition=3), "the events of o1 lie in several"),
    "an order that came of a ship": (
        insert(None, of_order("", "order_placed.v1", "o1", "c7", {CHAIR: 3})),
        "was caused by ship c7",
    ),
}


def test_a_story_that_is_right_is_left_alone() -> None:
    right = order_story()

    assert judge(right).complaints == []
    assert right.duplicates == 4


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_story_that_is_wrong_is_complained_of(name: str) -> None:
    mutate, complaint = MUTATIONS[name]
    wrong = order_story()

    mutate(wrong)

    complaints = judge(wrong).complaints
    assert any(complaint in each for each in complaints), complaints


def test_an_order_may_be_placed_at_an_attempt_without_answer() -> None:
    right = order_story()

    answer("c3", (None, None), (200, {**O1_PLACED, "complete": True}))(right)

    assert judge(right).complaints == []


def test_an_order_cancelled_at_an_attempt_without_answer_may_be_gone_at_the_next() -> None:
    right = order_story()
    placed = [line("o5", TABLE, 2, "allocated", "b2")]
    right.entries += [
        entry(
            "c15",
            "place_order",
            order("o5", {TABLE: 2}),
            (201, {"lines": placed, "complete": True}),
        ),
        entry("c16", "cancel_order", {"order_id": "o5", "lines": message_lines({TABLE: 2})}, (None, None), (404, None)),
    ]
    right.events += [
        of_product(TABLE, 11, "line_allocated.v1", "c15", order_id="o5", qty=2, batch_ref="b2"),
        of_order("o5-placed", "order_placed.v1", "o5", "c15", {TABLE: 2}),
        of_product(TABLE, 12, "line_deallocated.v1", "c16", order_id="o5", qty=2, batch_ref="b2", reason="cancelled"),
        of_order("o5-cancelled", "order_cancelled.v1", "o5", "c16", {TABLE: 2}),
    ]

    assert judge(right).complaints == []


def test_an_order_whose_client_was_never_answered_is_left_out_and_complained_of_once() -> None:
    right = order_story()
    answer("c3", (None, None))(right)

    complaints = [each for each in judge(right).complaints if "o1" in each]

    assert len(complaints) == 1
    assert "never had a definite answer" in complaints[0]
