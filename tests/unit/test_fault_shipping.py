"""The oracle of `make faults` on shipped lines: it complains of each that was moved, lost or published twice."""

from typing import Any

import pytest

from faults.oracle import judge
from faults.story import Event, LineSeen
from tests.support.order_stories import CHAIR, O1_SHIPPED, TABLE, accepted, of, of_product, order_story, other_batch
from tests.support.stories import Mutation, all_of, also, answer, ask, batch, change, drop, entry, insert, product, show


def shipped(cause: str, order_id: str = "o1", sku: str = CHAIR, qty: int = 3) -> Event:
    return of_product(sku, 0, "line_shipped.v1", cause, order_id=order_id, qty=qty, batch_ref="b1")


def released(cause: str, reason: str) -> Event:
    return of_product(CHAIR, 0, "line_deallocated.v1", cause, order_id="o1", qty=3, batch_ref="b1", reason=reason)


MUTATIONS: dict[str, tuple[Mutation, str]] = {
    "a shipped line that was moved": (
        insert("o1-cancelled", released("c11", "batch_quantity_changed")),
        "takes a line away that b1 has shipped",
    ),
    "a shipped line that was cancelled": (
        insert("o1-cancelled", released("c10", "cancelled")),
        "the line had been shipped, and was cancelled 1 times",
    ),
    "a shipped line that was cancelled with its order": (
        insert("o1-cancelled", released("c11", "cancelled")),
        "the order was to lose [('o1', 'TABLE')]",
    ),
    "a shipped line that was allocated again": (insert(None, accepted("c11", "o1", 3)), "that b1 holds already"),
    "a ship published twice by one command": (insert("CHAIR-5", shipped("c7")), "the line was shipped 2 times"),
    "a ship published again by the next": (insert("CHAIR-5", shipped("c8")), "was shipped again 1 times"),
    "pieces that left twice": (insert("CHAIR-5", shipped("c8")), "ships a line a second time"),
    "a lost ship": (drop("CHAIR-4"), "the line was shipped 0 times"),
    "a lost ship over Kafka": (drop("CHAIR-5"), "was not shipped, and no event says that it waited"),
    "a line that is said to wait and does not": (
        all_of(drop("CHAIR-4"), answer("c7", (409, {"code": "not-allocated"}))),
        "was not shipped, and no event says that it waited",
    ),
    "a line that waited only before": (
        all_of(
            insert("CHAIR-3", of_product(CHAIR, 0, "line_backordered.v1", "k1", order_id="o2", qty=2)), drop("CHAIR-5")
        ),
        "was not shipped, and no event says that it waited",
    ),
    "a ship of a line that waits": (
        insert("TABLE-7", shipped("k2", "o2", TABLE, 1)),
        "ships a line that no batch holds",
    ),
    "a ship of a line that is gone": (insert(None, shipped("c14", "o9")), "the line was gone, and was shipped 1 times"),
    "a ship of another line": (
        change("CHAIR-4", data={**shipped("").data, "order_id": "o2"}),
        "another line was shipped",
    ),
    "a ship from another batch": (change("CHAIR-4", data={**shipped("").data, "batch_ref": "b2"}), "that b1 holds"),
    "an answer of a ship from another batch": (answer("c7", (200, other_batch(O1_SHIPPED))), "the answer says"),
    "a ship that no client requested": (change("CHAIR-4", cause="c10"), "was caused by cancel c10"),
    "a shipped line that is shown as allocated": (
        show(LineSeen("o1", CHAIR, 3, "allocated", "b1", None)),
        "is allocated, and for its client shipped=True",
    ),
    "a shipped line that is shown with another batch": (
        show(LineSeen("o1", CHAIR, 3, "shipped", "b2", None)),
        "b1 has 5 shipped, its lines 2",
    ),
    "shipped pieces that are shown as available": (batch("b1", available_qty=10), "does not add up"),
    "a product that forgets what has left": (product(CHAIR, shipped_qty=0), "(available, allocated, shipped"),
    "a cut that was refused for no reason": (ask("c9", qty=6), "only 5 pieces had left the batch"),
    "a cut that was refused before anything had left": (
        all_of(
            also("c10", entry("c15", "change_batch", {"ref": "b1", "sku": CHAIR, "qty": 11}, (200, {"moved": []}))),
            insert("CHAIR-4", of_product(CHAIR, 0, "batch_quantity_changed.v1", "c15", ref="b1", qty=11, eta=None)),
            batch("b1", qty=11, available_qty=6),
            product(CHAIR, available_qty=6),
        ),
        "only 0 pieces had left the batch",
    ),
    "a cut below what has left": (
        insert(None, of_product(CHAIR, 0, "batch_quantity_changed.v1", "c9", ref="b1", qty=4, eta=None)),
        "b1 is oversold by 1",
    ),
    "a ship without a sequence": (change("CHAIR-5", sequence=None), "bears the sequence None"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_story_that_is_wrong_is_complained_of(name: str) -> None:
    mutate, complaint = MUTATIONS[name]
    wrong = order_story()

    mutate(wrong)

    complaints = judge(wrong).complaints
    assert any(complaint in each for each in complaints), complaints


@pytest.mark.parametrize(
    "answers", [[(503, None), (200, O1_SHIPPED)], [(None, None), (409, {"code": "not-allocated"})]]
)
def test_a_line_may_be_shipped_at_an_attempt_without_answer(answers: list[tuple[int | None, Any]]) -> None:
    right = order_story()

    answer("c7", *answers)(right)

    assert judge(right).complaints == []


def test_a_line_that_waits_goes_on_waiting_when_another_quantity_is_refused() -> None:
    right = order_story()
    also("k2", entry("k0", "allocate", {**of("o2", TABLE), "qty": 7}, (200, None), via="kafka"))(right)
    right.inbound.append("k0")
    right.inbox.append("k0")
    refusal = of_product(TABLE, 0, "allocation_failed.v1", "k0", order_id="o2", qty=7, reason="conflict")

    insert("TABLE-7", refusal)(right)

    assert judge(right).complaints == []
