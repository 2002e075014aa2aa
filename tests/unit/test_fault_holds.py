"""The oracle of `make faults` on holds: it complains of each piece that is lost, free and held, or ended wrongly."""

import pytest

from faults.oracle import judge
from faults.story import Event
from tests.support.hold_stories import (
    LATE,
    alter,
    at,
    ended,
    event,
    forget_line,
    held,
    hold_story,
    keyed,
    lose,
    order_of,
    put,
    seen,
    shown,
)
from tests.support.order_stories import CHAIR, TABLE, message_lines, of, of_order
from tests.support.stories import (
    Mutation,
    all_of,
    also,
    answer,
    batch,
    drop,
    entry,
    insert,
    over_kafka,
    product,
    show,
)

STILL_HELD = all_of(
    lose("expiry-3", "hold_released", TABLE),
    answer("c22", (409, {"code": "not-confirmed"})),
    show(seen("h7", TABLE, 1, "held", "b2", 2)),
    batch("b2", allocated_qty=4, available_qty=6, held_qty=1),
    product(TABLE, available_qty=6, allocated_qty=4, held_qty=1),
)

MUTATIONS: dict[str, tuple[Mutation, str]] = {
    "a firm line ended by the end of its hold": (
        put("c8", "line_allocated", ended("expiry-9", CHAIR, "h1", 3, "b1", "expired", when=11)),
        "ends the hold of a line that is firm",
    ),
    "a hold that ends twice": (
        put("expiry-1", "hold_released", ended("expiry-9", CHAIR, "h2", 2, "b1", "expired", when=3)),
        "ends a hold that is not there",
    ),
    "a hold that ends after it was cancelled": (
        put("c18", "hold_released", ended("expiry-9", TABLE, "h5", 1, "b2", "expired", when=11)),
        "ends a hold that is not there",
    ),
    "a hold that ends early": (alter("expiry-1", "hold_released", created=-0.5), "0.500 s before its end"),
    "a hold that never ends": (STILL_HELD, "its hold was over 998.0 s before"),
    "a hold whose end is lost": (lose("expiry-3", "hold_released", TABLE), "by the events, None by the read side"),
    "a hold that ends with other pieces": (alter("expiry-1", "hold_released", qty=1), "ends a hold of 2 pieces"),
    "a hold that ended and is confirmed without a placement": (
        lose("c10", "line_allocated"),
        "the line was accepted 0 times",
    ),
    "the same over Kafka": (lose("k2", "line_allocated", TABLE), "the line was accepted 0 times"),
    "a hold that ended and is shown as it was": (
        all_of(lose("c10", "line_allocated"), show(seen("h2", CHAIR, 2, "held", "b1", 2))),
        "by the read side",
    ),
    "a hold that was confirmed long after its end": (
        alter("c8", "line_allocated", created=100),
        "confirms a hold that ended 91.0 s before",
    ),
    "a retry that extends": (
        put("c4", "line_held", held("c6", CHAIR, "h1", 3, "b1", 20)),
        "the line was known, and was accepted again 1 times",
    ),
    "a retry that is answered with another end": (
        answer("c4", (201, shown("h1", CHAIR, 3, "b1", 20))),
        "and the hold ends",
    ),
    "a repeated key with an effect": (
        put("c4", "line_held", held("c5", CHAIR, "h1", 3, "b1", 20)),
        "it repeats c4, and caused events 1 times",
    ),
    "a repeated key with another response": (
        answer("c5", (200, shown("h1", CHAIR, 3, "b1", 10))),
        "its key was answered",
    ),
    "a key whose request was done before and is answered anew": (
        answer("c8", (None, None), (200, shown("h1", CHAIR, 3, "b1"))),
        "the answer should be one of",
    ),
    "a hold that was held again without a change": (
        put("c4", "line_held", held("c7", CHAIR, "h1", 3, "b1", 10)),
        "changes neither the batch of the hold nor its end",
    ),
    "a confirmation that was lost": (lose("c8", "line_allocated"), "the line was accepted 0 times"),
    "a confirmation on another batch": (alter("c8", "line_allocated", batch_ref="b3"), "a line that b1 holds"),
    "a confirmation that was refused": (
        answer("c8", (409, {"code": "out-of-stock"})),
        "the answer should be one of",
    ),
    "a held line that was shipped": (
        put("c4", "line_held", event("line_shipped", "c7", CHAIR, "h1", 3, "b1")),
        "ships a line that is held",
    ),
    "a held line that is said to be gone": (answer("c7", (404, {"code": "x"})), "the answer should be one of [409]"),
    "a held line that is said to wait": (
        answer("c7", (409, {"code": "not-allocated"})),
        "the line was held, and the answer is",
    ),
    "a held line that was taken away": (
        put("c15", "line_held", event("line_deallocated", "c18", CHAIR, "h3", 3, "b1", reason="cancelled")),
        "takes a line away that is held",
    ),
    "a held line that waits": (
        put("c15", "line_held", event("line_backordered", "c16", CHAIR, "h3", 3, "b1")),
        "queues a line that was accepted already",
    ),
    "a firm line that is held": (
        put("c8", "line_allocated", held("c16", CHAIR, "h1", 3, "b1", 50)),
        "holds a line that is firm",
    ),
    "a cancelled hold that stays": (lose("c18", "hold_released", TABLE), "the line was cancelled 0 times"),
    "a cancelled hold that is said to be gone": (answer("c18", (404, None)), "the answer should be one of [204]"),
    "a hold that ended for a reason of another command": (
        alter("c18", "hold_released", TABLE, reason="replaced"),
        "was caused by cancel c18",
    ),
    "a hold whose end was caused by a command": (
        alter("c18", "hold_released", TABLE, reason="expired", created=20),
        "was caused by cancel c18",
    ),
    "the end of a hold that cancels a line": (
        insert(None, event("line_deallocated", "expiry-9", CHAIR, "h1", 3, "b1", reason="cancelled")),
        "was caused by the end of a hold",
    ),
    "an order held in part": (lose("c11", "line_held", TABLE), "its line of TABLE was accepted 0 times"),
    "an order held until two times": (
        alter("c11", "line_held", TABLE, held_until=at(21)),
        "its lines are held until",
    ),
    "a hold published as an order": (
        insert(None, of_order("", "order_placed.v1", "o1", "c11", {CHAIR: 2, TABLE: 3})),
        "a hold was published 1 times",
    ),
    "an order extended in part": (lose("c12", "line_held", TABLE), "it should hold {'CHAIR': 2, 'TABLE': 3}"),
    "an extension answered with another end": (
        answer("c12", (200, order_of("o1", shown("o1", CHAIR, 2, "b1", 31), shown("o1", TABLE, 3, "b2", 31)))),
        "the answer says",
    ),
    "an extension that is said to have found nothing": (
        answer("c12", (404, {"code": "order-not-found"})),
        "the hold was refused, and the order had events",
    ),
    "a held order that is said to be firm": (
        also("c14", keyed(entry("c30", "hold_order", {"order_id": "o1", "hold_for": 9}, (409, {"code": "not-held"})))),
        "it answered that the order is not held",
    ),
    "a held order that is said to be gone": (
        also("c14", keyed(entry("c30", "hold_order", {"order_id": "o1", "hold_for": 9}, (404, {"code": "x"})))),
        "the answer should be one of [200]",
    ),
    "lines replaced without a release": (lose("c13", "hold_released", TABLE), "it should release {('TABLE', 3): 1}"),
    "lines replaced in part": (lose("c13", "line_held", TABLE), "it should hold {'CHAIR': 2, 'TABLE': 1}"),
    "an order confirmed in part": (lose("c14", "line_allocated", TABLE), "its line of TABLE was accepted 0 times"),
    "an order of which a held line waits": (
        all_of(
            lose("c14", "line_allocated", TABLE),
            put("c13", "line_held", event("line_backordered", "c14", TABLE, "o1", 1, "b2")),
        ),
        "its lines of ['TABLE'] were held, and wait now",
    ),
    "a confirmation that was not published": (drop("o1-placed"), "the order was published as placed 0 times"),
    "a refused hold that was kept": (
        put("c19", "allocation_failed", held("c19", TABLE, "h6", 9, "b2", 10)),
        "the line was refused, and accepted 1 times",
    ),
    "a refused hold without an event": (lose("c19", "allocation_failed", TABLE), "should be refused for out_of_stock"),
    "a refused hold that looks like an order": (
        put("c18", "hold_released", event("out_of_stock", "c19", TABLE, "h6", 9, "b2")),
        "a hold said that stock is out 1 times",
    ),
    "a cut that loses a hold": (lose("c16", "line_held"), "b1 is oversold by 3"),
    "a cut that changes the end of a hold": (alter("c16", "line_held", held_until=at(9)), "by the events"),
    "a cut that moves a hold without saying so": (
        answer("c16", (200, {"moved": [{"order_id": "h9"}]})),
        "the answer says ['h9'] moved",
    ),
    "stock that is low without its held pieces": (
        insert(None, Event("", "low_stock.v1", CHAIR, 0, {"sku": CHAIR, "available_qty": 1}, "c22")),
        "but the batches have 4 available",
    ),
    "a held line that is shown as firm": (
        show(seen("h3", CHAIR, 3, "allocated", "b3")),
        "is allocated, and for its client held=True",
    ),
    "a firm line that is shown as held": (
        show(seen("h1", CHAIR, 3, "held", "b1", LATE)),
        "is held, and for its client held=False",
    ),
    "a held line that is shown without an end": (show(seen("h3", CHAIR, 3, "held", "b3")), "is held until None"),
    "a held line that is shown with another end": (
        show(seen("h3", CHAIR, 3, "held", "b3", LATE + 1)),
        "line ('h3', 'CHAIR') is",
    ),
    "a held line that is not shown": (forget_line("h3", CHAIR), "its client believes 3"),
    "a batch that miscounts what is held": (batch("b3", held_qty=2), "b3 has 2 held, its lines 3"),
    "a product that miscounts what is held": (
        product(CHAIR, held_qty=0),
        "(available, allocated, shipped, held, backordered)",
    ),
    "held pieces that are shown as available": (batch("b3", available_qty=4), "does not add up"),
    "a hold that ended and is shown": (show(seen("h7", TABLE, 1, "held", "b2", 2)), "its client believes it gone"),
}


def test_a_story_that_is_right_is_left_alone() -> None:
    judgement = judge(hold_story())

    assert judgement.complaints == []
    assert judgement.reruns == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_story_that_is_wrong_is_complained_of(name: str) -> None:
    mutate, complaint = MUTATIONS[name]
    wrong = hold_story()

    mutate(wrong)

    complaints = judge(wrong).complaints
    assert any(complaint in each for each in complaints), complaints


@pytest.mark.parametrize(
    "mutation",
    [
        pytest.param(answer("c22", (409, {"code": "not-confirmed"})), id="shipped just before"),
        pytest.param(over_kafka("c22"), id="shipped over Kafka"),
        pytest.param(
            also("c22", keyed(entry("c30", "cancel", of("h7", TABLE), (404, None)))), id="cancelled just after"
        ),
        pytest.param(
            also("c22", keyed(entry("c30", "hold_order", {"order_id": "h7", "hold_for": 9}, (404, {"code": "x"})))),
            id="extended just after",
        ),
        pytest.param(
            also(
                "c22",
                keyed(
                    entry("c30", "cancel_order", {"order_id": "h7", "lines": message_lines({TABLE: 1})}, (404, None))
                ),
            ),
            id="its order cancelled just after",
        ),
    ],
)
def test_a_hold_may_end_before_or_after_a_command_without_events(mutation: Mutation) -> None:
    right = hold_story()

    mutation(right)
    right.inbound = right.inbox = [each.id for each in right.entries if each.via == "kafka"]

    assert judge(right).complaints == []
