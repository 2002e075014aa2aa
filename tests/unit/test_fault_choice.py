"""The oracle of `make faults` knows which batch a line may get: stories of places and blocking, right and wrong."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from faults.oracle import judge
from faults.story import BatchSeen, Event, LineSeen, ProductSeen, Story
from tests.support.stories import Mutation, answer, ask, batch, change, entry, product, show

CHAIR = "CHAIR"
BERLIN = {"location": "berlin", "best_before": None, "blocked": False}
BLOCKED = {**BERLIN, "blocked": True}


def event(sequence: int, type_: str, cause: str, **data: Any) -> Event:
    return Event(f"e{sequence}", type_, CHAIR, sequence, {"sku": CHAIR, **data}, cause)


def line(order: str, qty: int, ref: str | None) -> LineSeen:
    return LineSeen(order, CHAIR, qty, "allocated" if ref else "backordered", ref, None)


def story() -> Story:
    """b1 is in Berlin, b2 in Rome, b3 is good until 2090. o1 wants Berlin, o2 Rome or Berlin, o3 what is good in 2095.

    b1 is recalled: o1 waits, and o2 stays in Rome.
    """
    names = [{"order_id": f"o{number}", "sku": CHAIR, "qty": 2} for number in (1, 2, 3)]
    wants: list[dict[str, Any]] = [{"from": ["berlin"]}, {"from": ["rome", "berlin"]}, {"good_until": "2095-01-01"}]
    lines = [{**name, **wish} for name, wish in zip(names, wants, strict=True)]
    b1 = {"ref": "b1", "sku": CHAIR, "qty": 5, "eta": None, "location": "berlin"}
    b2 = {"ref": "b2", "sku": CHAIR, "qty": 5, "eta": None, "location": "rome"}
    b3 = {"ref": "b3", "sku": CHAIR, "qty": 5, "eta": None, "best_before": "2090-01-01"}
    moved = [{"order_id": "o1", "sku": CHAIR, "qty": 2, "from_batch_ref": "b1", "to_batch_ref": None}]
    recall = {"ref": "b1", "sku": CHAIR, "blocked": True, "reallocate": True}
    refs = ["b1", "b2", "b1"]
    entries = [
        *(entry(f"c{number}", "create_batch", each, (201, each)) for number, each in enumerate((b1, b2, b3), start=1)),
        *(
            entry(f"c{number}", "allocate", each, (201, {**each, "batch_ref": ref}))
            for number, (each, ref) in enumerate(zip(lines, refs, strict=True), start=4)
        ),
        entry("c7", "change_batch", recall, (200, {"moved": [*moved, {**moved[0], "order_id": "o3"}]})),
    ]
    left = {"batch_ref": "b1", "reason": "batch_blocked"}
    events = [
        event(1, "batch_created.v1", "c1", ref="b1", qty=5, eta=None, location="berlin"),
        event(2, "batch_created.v1", "c2", ref="b2", qty=5, eta=None, location="rome"),
        event(3, "batch_created.v1", "c3", ref="b3", qty=5, eta=None, best_before="2090-01-01"),
        *(
            event(number, "line_allocated.v1", f"c{number}", **name, batch_ref=ref)
            for number, (name, ref) in enumerate(zip(names, refs, strict=True), start=4)
        ),
        event(7, "batch_changed.v1", "c7", ref="b1", qty=5, eta=None, **BLOCKED),
        event(8, "line_deallocated.v1", "c7", **names[0], **left),
        event(9, "line_deallocated.v1", "c7", **names[2], **left),
        event(10, "out_of_stock.v1", "c7", **names[0]),
        event(11, "line_backordered.v1", "c7", **names[0]),
        event(12, "line_allocated.v1", "c7", **names[2], batch_ref="b2"),
    ]
    batches = [
        BatchSeen("b1", CHAIR, 5, None, 0, 0, location="berlin", blocked=True),
        BatchSeen("b2", CHAIR, 5, None, 4, 1, location="rome"),
        BatchSeen("b3", CHAIR, 5, None, 0, 5, best_before="2090-01-01"),
    ]
    seen = [line("o1", 2, None), line("o2", 2, "b2"), line("o3", 2, "b2")]
    return Story(
        entries=entries,
        events=events,
        batches={each.ref: each for each in batches},
        lines={(each.order_id, each.sku): each for each in seen},
        products={CHAIR: ProductSeen(CHAIR, 6, 4, 2)},
    )


def event_data(id_: str, **data: Any) -> Mutation:
    def mutate(wrong: Story) -> None:
        (found,) = (each for each in wrong.events if each.id == id_)
        change(id_, data={**found.data, **data})(wrong)

    return mutate


def served_from(ref: str) -> Mutation:
    """The last line goes to another batch, in all records."""

    def mutate(wrong: Story) -> None:
        event_data("e12", batch_ref=ref)(wrong)
        show(line("o3", 2, ref))(wrong)

    return mutate


def also_blocked(wrong: Story) -> None:
    wrong.batches["b1"] = replace(wrong.batches["b1"], blocked=False, available_qty=5)


MUTATIONS: dict[str, tuple[Mutation, str]] = {
    "a line on a batch that is blocked": (served_from("b1"), "the line may not have it"),
    "a line on a batch that is not good for long enough": (served_from("b3"), "the line may not have it"),
    "a line elsewhere": (event_data("e4", batch_ref="b2"), "the line may not have it"),
    "a line at its second choice": (event_data("e5", batch_ref="b1"), "allocates from b1 although b2 comes first"),
    "a block that is not published": (event_data("e7", blocked=False), "it should be"),
    "a block that the read side does not show": (also_blocked, "end: batch b1"),
    "a block that no client asked for": (ask("c7", blocked=False), "the terms were changed 1 times, not 0"),
    "a batch that went away": (batch("b2", location="oslo"), "end: batch b2"),
    "available pieces of a blocked batch": (batch("b1", available_qty=5), "does not add up"),
    "a product that counts them": (product(CHAIR, available_qty=11), "(available, allocated, shipped"),
    "a line that waits where a batch can serve it": (
        ask("c4", **{"from": ["berlin", "main"]}),
        "although a batch has room",
    ),
    "an answer without the moves": (answer("c7", (200, {"moved": [{"order_id": "o2"}]})), "the answer says ['o2']"),
}


def test_a_story_that_is_right_is_left_alone() -> None:
    assert judge(story()).complaints == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_story_that_is_wrong_is_complained_of(name: str) -> None:
    mutate, complaint = MUTATIONS[name]
    wrong = copy.deepcopy(story())

    mutate(wrong)

    complaints = judge(wrong).complaints
    assert any(complaint in each for each in complaints), complaints
