"""The oracle of `make faults` on carts: it complains of each checkout that is lost, doubled or answered wrongly."""

from typing import Any

import pytest

from faults.oracle import judge
from faults.story import BatchSeen, CartSeen, Event, LineSeen, OrderSeen, ProductSeen, Story
from tests.support.stories import Mutation, answer, change, drop, entry, insert

CHAIR = "CHAIR"
UNTIL = "2030-01-01T00:10:00+00:00"
ITEM = {"sku": CHAIR, "qty": 2, "unit_price": 500}
NAMES = {"order_id": "o1", "cart_id": "cart"}
LINES = {"lines": [{"sku": CHAIR, "qty": 2}]}
CART = {"cart_id": "cart", "currency": "EUR", "items": [ITEM], "total": 1000}


def event(sequence: int, type_: str, cause: str, **data: Any) -> Event:
    return Event(f"e{sequence}", type_, CHAIR, sequence, {"sku": CHAIR, **data}, cause)


def of_order(id_: str, type_: str, cause: str, **data: Any) -> Event:
    return Event(id_, type_, "o1", None, {"order_id": "o1", **data}, cause)


def answered(held_until: str | None, **changes: Any) -> dict[str, Any]:
    line = {"order_id": "o1", "sku": CHAIR, "qty": 2, "batch_ref": "b1", "held_until": held_until}
    return {"cart_id": "cart", "total": 1000, "lines": [line], "complete": held_until is None, **changes}


def shown(status: str, **changes: Any) -> dict[str, Any]:
    return {**CART, "status": status, **changes}


def story() -> Story:
    """A cart of two chairs is held, and then checked out; it is closed, and its order is still there."""
    b1 = {"ref": "b1", "sku": CHAIR, "qty": 10, "eta": None}
    item = {"cart_id": "cart", **ITEM}
    place = {**NAMES, **LINES, "if_unavailable": "backorder"}
    entries = [
        entry("c1", "create_batch", b1, (201, b1)),
        entry("c2", "set_item", {**item, "qty": 1}, (201, shown("open", items=[{**ITEM, "qty": 1}], total=500))),
        entry("c3", "set_item", item, (200, shown("open"))),
        entry("c4", "check_out", {**NAMES, **LINES, "hold_for": 600}, (201, answered(UNTIL))),
        entry("c5", "check_out", place, (201, answered(None))),
        entry("c6", "check_out", place, (200, answered(None))),
        entry("c7", "set_item", item, (409, {"code": "cart-closed"})),
    ]
    line = {"order_id": "o1", "qty": 2, "batch_ref": "b1"}
    events = [
        event(1, "batch_created.v1", "c1", ref="b1", qty=10, eta=None),
        event(2, "line_held.v1", "c4", **line, held_until=UNTIL),
        of_order("held", "cart_checked_out.v1", "c4", **CART, held_until=UNTIL),
        event(3, "line_allocated.v1", "c5", **line),
        of_order("placed", "order_placed.v1", "c5", **LINES),
        of_order("closed", "cart_checked_out.v1", "c5", **CART, held_until=None),
    ]
    return Story(
        entries=entries,
        events=events,
        batches={"b1": BatchSeen("b1", CHAIR, 10, None, 2, 8)},
        lines={("o1", CHAIR): LineSeen("o1", CHAIR, 2, "allocated", "b1", None)},
        orders={"o1": OrderSeen("o1", complete=True, earliest_eta=None)},
        carts={"cart": CartSeen("cart", "closed", "o1", 1000, [ITEM])},
        products={CHAIR: ProductSeen(CHAIR, 8, 2, 0)},
    )


def read(**changes: Any) -> Mutation:
    values = {"cart_id": "cart", "status": "closed", "order_id": "o1", "total": 1000, "items": [ITEM]}
    return lambda wrong: wrong.carts.update(cart=CartSeen(**{**values, **changes}))


MUTATIONS: dict[str, tuple[Mutation, str]] = {
    "a checkout that was not published": (drop("closed"), "the cart was published 0 times, not 1"),
    "a checkout published twice": (
        insert(None, of_order("", "cart_checked_out.v1", "c5", **CART, held_until=None)),
        "the cart was published 2 times, not 1",
    ),
    "a checkout without its order": (drop("placed"), "the order was published as placed 0 times, not 1"),
    "a checkout without a line": (drop("e3"), "its line of CHAIR was accepted 0 times, not 1"),
    "a closed cart that is checked out again": (
        insert(None, of_order("", "cart_checked_out.v1", "c6", **CART, held_until=None)),
        "the cart was closed, and its checkout had events 1 times, not 0",
    ),
    "a checkout published with other items": (
        change("closed", data={**NAMES, **CART, "items": [{**ITEM, "qty": 1}], "held_until": None}),
        "the event says",
    ),
    "a held checkout published as firm": (
        change("held", data={**NAMES, **CART, "held_until": None}),
        "and it is checked_out",
    ),
    "a checkout with another total": (answer("c5", (201, answered(None, total=500))), "the answer says"),
    "an answered item that is not in the answer": (answer("c3", (200, shown("open", items=[]))), "the answer says"),
    "an item of a closed cart": (answer("c7", (200, shown("closed"))), "the answer should be one of [409]"),
    "an item that is not read": (read(items=[]), "end: the cart"),
    "a cart that is read as open": (read(status="open"), "end: the cart"),
    "a cart that is gone": (lambda wrong: wrong.carts.clear(), "end: the cart None is not"),
    "an item that has an event": (
        insert(None, of_order("", "cart_checked_out.v1", "c3", **CART, held_until=None)),
        "an item of a cart was set, and had events 1 times, not 0",
    ),
    "a cart published by another command": (
        change("closed", cause="c1"),
        "causes: cart_checked_out.v1 of o1 None was caused by",
    ),
}


def test_a_story_that_is_right_is_left_alone() -> None:
    assert judge(story()).complaints == []


def test_a_checkout_at_an_attempt_without_answer_is_found_closed_at_the_next() -> None:
    right = story()

    answer("c5", (None, None), (200, answered(None)))(right)

    assert judge(right).complaints == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_story_that_is_wrong_is_complained_of(name: str) -> None:
    mutate, complaint = MUTATIONS[name]
    wrong = story()

    mutate(wrong)

    complaints = judge(wrong).complaints
    assert any(complaint in each for each in complaints), complaints
