"""The oracle of `make faults`: it is silent about a story that is right, and complains of each that is not."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from faults.oracle import judge
from faults.story import BatchSeen, Event, LineSeen, ProductSeen, Story
from tests.support.stories import Mutation, answer, batch, drop, entry, insert, product, show

CHAIR = "CHAIR"


def line(order: str, qty: int, batch: str | None) -> LineSeen:
    return LineSeen(order, CHAIR, qty, "allocated" if batch else "backordered", batch, None)


def event(sequence: int, type_: str, cause: str, **data: Any) -> Event:
    return Event(f"e{sequence}", type_, CHAIR, sequence, {"sku": CHAIR, **data}, cause)


def placed(order: str, qty: int, batch: str | None) -> dict[str, Any]:
    return {"order_id": order, "sku": CHAIR, "qty": qty, "batch_ref": batch}


def story() -> Story:
    """Batch b1 of 10; o1 takes 6; o2 wants 5 and waits; b1 is cut to 5, so o1 waits, too, and o2 is served.

    o3 is refused; o4 comes over Kafka, waits, and is cancelled; b2 comes at last, too small for o1: the SKU is back.
    """
    o1, o2 = {"order_id": "o1", "sku": CHAIR, "qty": 6}, {"order_id": "o2", "sku": CHAIR, "qty": 5}
    o3 = {"order_id": "o3", "sku": CHAIR, "qty": 9, "if_unavailable": "reject"}
    o4 = {"order_id": "o4", "sku": CHAIR, "qty": 8}
    b1, b2 = {"ref": "b1", "sku": CHAIR, "qty": 10, "eta": None}, {"ref": "b2", "sku": CHAIR, "qty": 1, "eta": None}
    moved = [{"order_id": "o1", "sku": CHAIR, "qty": 6, "from_batch_ref": "b1", "to_batch_ref": None}]
    entries = [
        entry("c1", "create_batch", b1, (None, None), (200, b1)),
        entry("c2", "allocate", o1, (201, placed("o1", 6, "b1"))),
        entry("c3", "allocate", o1, (200, placed("o1", 6, "b1"))),
        entry("c4", "allocate", o2, (202, placed("o2", 5, None))),
        entry("c5", "allocate", o3, (409, {"code": "out-of-stock"})),
        entry("c6", "change_batch", {"ref": "b1", "sku": CHAIR, "qty": 5}, (200, {"moved": moved})),
        entry("k1", "allocate", o4, (200, None), via="kafka"),
        entry("k2", "cancel", {"order_id": "o4", "sku": CHAIR}, (200, None), via="kafka"),
        entry("c7", "cancel", {"order_id": "o9", "sku": CHAIR}, (404, None)),
        entry("c8", "create_batch", b2, (201, b2)),
        entry("c9", "allocate", {**o2, "qty": 7}, (409, {"code": "allocation-conflict"})),
    ]
    events = [
        event(1, "batch_created.v1", "c1", ref="b1", qty=10, eta=None),
        event(2, "line_allocated.v1", "c2", order_id="o1", qty=6, batch_ref="b1"),
        event(3, "out_of_stock.v1", "c4", order_id="o2", qty=5),
        event(4, "line_backordered.v1", "c4", order_id="o2", qty=5),
        event(5, "out_of_stock.v1", "c5", order_id="o3", qty=9),
        event(6, "allocation_failed.v1", "c5", order_id="o3", qty=9, reason="out_of_stock"),
        event(7, "batch_quantity_changed.v1", "c6", ref="b1", qty=5, eta=None),
        event(8, "line_deallocated.v1", "c6", order_id="o1", qty=6, batch_ref="b1", reason="batch_quantity_changed"),
        event(9, "out_of_stock.v1", "c6", order_id="o1", qty=6),
        event(10, "line_backordered.v1", "c6", order_id="o1", qty=6),
        event(11, "line_allocated.v1", "c6", order_id="o2", qty=5, batch_ref="b1"),
        event(12, "out_of_stock.v1", "k1", order_id="o4", qty=8),
        event(13, "line_backordered.v1", "k1", order_id="o4", qty=8),
        event(14, "line_deallocated.v1", "k2", order_id="o4", qty=8, batch_ref=None, reason="cancelled"),
        event(15, "batch_created.v1", "c8", ref="b2", qty=1, eta=None),
        event(16, "back_in_stock.v1", "c8", available_qty=1),
        event(17, "allocation_failed.v1", "c9", order_id="o2", qty=7, reason="conflict"),
    ]
    # A relay that died after sending sends a part again.
    events[6:6] = events[2:6]
    lines = [line("o1", 6, None), line("o2", 5, "b1")]
    batches = [BatchSeen("b1", CHAIR, 5, None, 5, 0), BatchSeen("b2", CHAIR, 1, None, 0, 1)]
    return Story(
        entries=entries,
        events=events,
        batches={batch.ref: batch for batch in batches},
        lines={(each.order_id, each.sku): each for each in lines},
        products={CHAIR: ProductSeen(CHAIR, 1, 5, 6)},
        inbound=["k1", "k2", "k2"],
        inbox=["k1", "k2"],
    )


def lose_record(spoilt: Story) -> None:
    spoilt.events = [each for each in spoilt.events if each.sequence != 11]


def swap(spoilt: Story) -> None:
    spoilt.events[0], spoilt.events[1] = spoilt.events[1], spoilt.events[0]


def change_repeat(spoilt: Story) -> None:
    spoilt.events[6] = replace(spoilt.events[6], data={**spoilt.events[6].data, "qty": 4})


def give_repeat_a_new_id(spoilt: Story) -> None:
    spoilt.events[6] = replace(spoilt.events[6], id="another")


def forget_cause(spoilt: Story) -> None:
    spoilt.events[0] = replace(spoilt.events[0], cause="unsent")


def moved(spoilt: Story, at: int, *, but: int | None = None) -> None:
    """From that place on, the events are in an added partition, which is read first; `but` one is in the old one."""
    spoilt.moved = True
    later = [replace(each, partition=3) for each in spoilt.events[at:]]
    if but is not None:
        later[but] = replace(later[but], partition=0)
    spoilt.events = [*later, *spoilt.events[:at]]


def another_partition(spoilt: Story) -> None:
    spoilt.events[-1] = replace(spoilt.events[-1], partition=3)


def lose_line(spoilt: Story) -> None:
    del spoilt.lines["o1", CHAIR]


def lose_message(spoilt: Story) -> None:
    spoilt.inbound.remove("k1")
    spoilt.inbox.remove("k1")


MUTATIONS: dict[str, tuple[Mutation, str]] = {
    "a lost event": (lose_record, "order: CHAIR has 12 after 10"),
    "a lost event under a sequence without gap": (drop("e11"), "end of the queue|o2"),
    "an event that went astray at the end": (drop("e17"), "refused for conflict"),
    "a lost batch": (drop("e15"), "the batch was recorded 0 times"),
    "a swapped order": (swap, "order: CHAIR has 2 after 0"),
    "a repeat that differs": (change_repeat, "repeats: e3"),
    "a repeat under a new id": (give_repeat_a_new_id, "order: CHAIR has 3 after 6"),
    "an event without a command": (forget_cause, "caused by 'unsent'"),
    "an event that stayed in the old partition": (
        lambda spoilt: moved(spoilt, 12, but=3),
        "in partition 3",
    ),
    "events of one SKU in two partitions": (another_partition, "several partitions"),
    "a line that was accepted twice": (
        insert("e3", event(0, "line_allocated.v1", "c3", order_id="o1", qty=6, batch_ref="b1")),
        "the line was known, and was accepted again 1 times",
    ),
    "a line allocated twice by one command": (
        insert("e3", event(0, "line_allocated.v1", "c2", order_id="o1", qty=6, batch_ref="b1")),
        "the line was accepted 2 times",
    ),
    "a cut that took place twice": (
        insert("e9", event(0, "batch_quantity_changed.v1", "c6", ref="b1", qty=5, eta=None)),
        "the quantity was changed 2 times",
    ),
    "a message that was refused and accepted": (
        insert("e14", event(0, "line_deallocated.v1", "k2", order_id="o4", qty=8, batch_ref=None, reason="cancelled")),
        "was cancelled 2 times",
    ),
    "a line that no client requested": (show(line("o7", 9, None)), "no client ever asked"),
    "a lost line": (lose_line, "its client believes 6"),
    "a line that was cancelled": (show(line("o4", 8, None)), "believes it gone"),
    "a line with another batch": (show(line("o2", 5, "b2")), "b2 has 0 allocated, its lines 5"),
    "stock that is said to be back and is not": (
        insert("e12", event(0, "back_in_stock.v1", "c5", available_qty=4)),
        "but the batches have 0 available",
    ),
    "stock that is said to be low and is not": (
        insert("e17", event(0, "low_stock.v1", "c8", available_qty=1, reorder_point=1)),
        "there is enough",
    ),
    "a wrong sum of a batch": (batch("b1", allocated_qty=4, available_qty=1), "b1 has 4 allocated, its lines 5"),
    "an available quantity that does not add up": (batch("b1", available_qty=3), "does not add up"),
    "an oversold batch": (batch("b1", qty=4, available_qty=-1), "does not add up"),
    "a batch that was never cut": (batch("b1", qty=10, available_qty=5), "its client believes (5, None)"),
    "a queued line that fits": (batch("b2", qty=7, available_qty=7), "o1 of CHAIR waits for 6, and a batch has 7"),
    "a product whose queue is miscounted": (
        product(CHAIR, backordered_qty=11),
        "(available, allocated, shipped, held, backordered)",
    ),
    "an outbox that is not empty": (lambda wrong: setattr(wrong, "outbox", 3), "outbox: 3 events"),
    "a message that was not processed": (lambda wrong: wrong.inbox.remove("k1"), "k1 was published and neither"),
    "a message processed and set aside": (
        lambda wrong: wrong.dead.append("k1"),
        "k1 was processed or set aside 2 times",
    ),
    "a message that was never published": (
        lambda wrong: wrong.inbox.append("k9"),
        "k9 was processed and never published",
    ),
    "an acknowledged message that is gone": (
        lose_message,
        "acknowledged and is not in the topic",
    ),
    "a command without an answer": (answer("c2", (None, None), (503, None)), "never had a definite answer"),
    "a line accepted for an answer of refusal": (answer("c2", (409, None)), "the answer should be one of"),
    "an answer of another batch": (answer("c2", (201, placed("o1", 6, "b2"))), "the answer says"),
    "an answer of moves that did not happen": (
        answer("c6", (200, {"moved": [{"order_id": "o2"}]})),
        "the answer says ['o2'] moved",
    ),
}


def test_events_that_moved_to_an_added_partition_are_right() -> None:
    right = story()
    moved(right, 12)
    assert judge(right).complaints == []


def test_a_story_that_is_right_is_left_alone() -> None:
    right = story()

    assert judge(right).complaints == []
    assert right.duplicates == 4


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_story_that_is_wrong_is_complained_of(name: str) -> None:
    mutate, complaint = MUTATIONS[name]
    wrong = copy.deepcopy(story())

    mutate(wrong)

    complaints = judge(wrong).complaints
    assert any(part in each for each in complaints for part in complaint.split("|")), complaints


def test_a_line_refused_at_an_attempt_without_answer_may_be_accepted_by_the_next() -> None:
    right = story()
    o5 = {"order_id": "o5", "sku": CHAIR, "qty": 1, "if_unavailable": "reject"}
    right.entries.append(entry("c10", "allocate", o5, (None, None), (201, placed("o5", 1, "b2"))))
    right.events += [
        event(18, "out_of_stock.v1", "c10", order_id="o5", qty=1),
        event(19, "allocation_failed.v1", "c10", order_id="o5", qty=1, reason="out_of_stock"),
        event(20, "line_allocated.v1", "c10", order_id="o5", qty=1, batch_ref="b2"),
    ]
    batch("b2", allocated_qty=1, available_qty=0)(right)
    right.products[CHAIR] = ProductSeen(CHAIR, 0, 6, 6)
    show(line("o5", 1, "b2"))(right)

    assert judge(right).complaints == []


def test_a_cancellation_repeated_after_no_answer_may_find_the_line_gone() -> None:
    right = story()
    right.entries.append(entry("c10", "cancel", {"order_id": "o2", "sku": CHAIR}, (None, None), (404, None)))
    right.events.append(
        event(18, "line_deallocated.v1", "c10", order_id="o2", qty=5, batch_ref="b1", reason="cancelled")
    )
    batch("b1", allocated_qty=0, available_qty=5)(right)
    right.products[CHAIR] = ProductSeen(CHAIR, 6, 0, 6)
    del right.lines["o2", CHAIR]

    assert judge(right).complaints == []


def test_a_cancellation_that_finds_the_line_gone_at_its_first_attempt_is_noted() -> None:
    right = story()
    right.entries.append(entry("c10", "cancel", {"order_id": "o1", "sku": CHAIR}, (404, None)))
    right.events.append(
        event(18, "line_deallocated.v1", "c10", order_id="o1", qty=6, batch_ref=None, reason="cancelled")
    )
    right.products[CHAIR] = ProductSeen(CHAIR, 1, 5, 0)
    del right.lines["o1", CHAIR]

    judgement = judge(right)

    assert judgement.complaints == []
    assert len(judgement.reruns) == 1


def test_a_line_whose_client_was_never_answered_is_left_out_and_complained_of_once() -> None:
    right = story()
    answer("c4", (None, None))(right)

    complaints = [each for each in judge(right).complaints if "o2" in each]

    assert len(complaints) == 1
    assert "never had a definite answer" in complaints[0]
