"""A story for the oracle of `make faults`: lines that are shipped, and orders of several lines."""

from typing import Any

from faults.story import BatchSeen, Event, LineSeen, OrderSeen, ProductSeen, Story
from tests.support.stories import entry

CHAIR, TABLE = "CHAIR", "TABLE"
Lines = dict[str, int]
"""Pieces by SKU."""


def of_product(sku: str, sequence: int, type_: str, cause: str, **data: Any) -> Event:
    """An event of a product."""
    return Event(f"{sku}-{sequence}", type_, sku, sequence, {"sku": sku, **data}, cause)


def of_order(id_: str, type_: str, order_id: str, cause: str, lines: Lines, **data: Any) -> Event:
    """An event of an order as a whole."""
    return Event(id_, type_, order_id, None, {"order_id": order_id, "lines": message_lines(lines), **data}, cause)


def message_lines(lines: Lines) -> list[dict[str, Any]]:
    """Lines in the form of messages."""
    return [{"sku": sku, "qty": qty} for sku, qty in lines.items()]


def order(order_id: str, lines: Lines, if_unavailable: str = "backorder") -> dict[str, Any]:
    """The data of an order."""
    return {"order_id": order_id, "lines": message_lines(lines), "if_unavailable": if_unavailable}


def line(order_id: str, sku: str, qty: int, status: str, ref: str | None) -> dict[str, Any]:
    """A line as answers show it."""
    return {"order_id": order_id, "sku": sku, "qty": qty, "status": status, "batch_ref": ref, "eta": None}


def of(order_id: str, sku: str) -> dict[str, Any]:
    """The key of a line."""
    return {"order_id": order_id, "sku": sku}


O1_PLACED = {"lines": [line("o1", CHAIR, 3, "allocated", "b1"), line("o1", TABLE, 4, "allocated", "b2")]}
O1_SHIPPED = line("o1", CHAIR, 3, "shipped", "b1")


def accepted(cause: str, order_id: str, qty: int) -> Event:
    """An event that gives a line of chairs to b1, wherever it is put in."""
    return of_product(CHAIR, 0, "line_allocated.v1", cause, order_id=order_id, qty=qty, batch_ref="b1")


def other_batch(answered: dict[str, Any]) -> dict[str, Any]:
    """The same line with a batch that does not exist."""
    return {**answered, "batch_ref": "b7"}


def order_story() -> Story:
    """Chairs in b1, tables in b2, which o1 takes; a chair of o1 and o2 each leaves, a table of o2 waits for that of o1.

    o3 and o4 are refused, so is a cut of b1 below what has left; what is left of o1 and o2 is cancelled.
    """
    b1, b2 = (
        {"ref": ref, "sku": sku, "qty": qty, "eta": None} for ref, sku, qty in (("b1", CHAIR, 10), ("b2", TABLE, 4))
    )
    o1, o2 = {CHAIR: 3, TABLE: 4}, {CHAIR: 2, TABLE: 1}
    entries = [
        entry("c1", "create_batch", b1, (201, b1)),
        entry("c2", "create_batch", b2, (201, b2)),
        entry("c3", "place_order", order("o1", o1), (201, {**O1_PLACED, "complete": True})),
        entry("c4", "place_order", order("o1", o1), (200, {**O1_PLACED, "complete": True})),
        entry("c5", "place_order", order("o1", {CHAIR: 1}), (409, {"code": "order-conflict"})),
        entry("k1", "place_order", order("o2", o2), (200, None), via="kafka"),
        entry("c6", "place_order", order("o3", {CHAIR: 1, TABLE: 1}, "reject"), (409, {"code": "out-of-stock"})),
        entry("c7", "ship", of("o1", CHAIR), (200, O1_SHIPPED)),
        entry("c8", "ship", of("o1", CHAIR), (200, O1_SHIPPED)),
        entry("k2", "ship", of("o2", TABLE), (200, None), via="kafka"),
        entry("k3", "ship", of("o2", CHAIR), (200, None), via="kafka"),
        entry("c9", "change_batch", {"ref": "b1", "sku": CHAIR, "qty": 4}, (409, {"code": "below-shipped"})),
        entry("c10", "cancel", of("o1", CHAIR), (409, {"code": "already-shipped"})),
        entry("c11", "cancel_order", {"order_id": "o1", "lines": message_lines(o1)}, (204, None)),
        entry("k4", "cancel_order", {"order_id": "o2", "lines": message_lines(o2)}, (200, None), via="kafka"),
        entry("c12", "place_order", order("o4", {TABLE: 2, "MISSING": 1}), (400, {"code": "invalid-sku"})),
        entry("c13", "cancel_order", {"order_id": "o9", "lines": message_lines({CHAIR: 1})}, (404, None)),
        entry("c14", "ship", of("o9", CHAIR), (404, None)),
    ]
    events = [
        of_product(CHAIR, 1, "batch_created.v1", "c1", ref="b1", qty=10, eta=None),
        of_product(TABLE, 1, "batch_created.v1", "c2", ref="b2", qty=4, eta=None),
        of_product(CHAIR, 2, "line_allocated.v1", "c3", order_id="o1", qty=3, batch_ref="b1"),
        of_product(TABLE, 2, "line_allocated.v1", "c3", order_id="o1", qty=4, batch_ref="b2"),
        of_order("o1-placed", "order_placed.v1", "o1", "c3", o1),
        of_order("o1-refused", "order_refused.v1", "o1", "c5", {CHAIR: 1}, reason="conflict"),
        of_product(CHAIR, 3, "line_allocated.v1", "k1", order_id="o2", qty=2, batch_ref="b1"),
        of_product(TABLE, 3, "out_of_stock.v1", "k1", order_id="o2", qty=1),
        of_product(TABLE, 4, "line_backordered.v1", "k1", order_id="o2", qty=1),
        of_order("o2-placed", "order_placed.v1", "o2", "k1", o2),
        of_product(TABLE, 5, "out_of_stock.v1", "c6", order_id="o3", qty=1),
        of_product(TABLE, 6, "allocation_failed.v1", "c6", order_id="o3", qty=1, reason="out_of_stock"),
        of_order("o3-refused", "order_refused.v1", "o3", "c6", {TABLE: 1}, reason="out_of_stock"),
        of_product(CHAIR, 4, "line_shipped.v1", "c7", order_id="o1", qty=3, batch_ref="b1"),
        of_product(CHAIR, 5, "line_shipped.v1", "k3", order_id="o2", qty=2, batch_ref="b1"),
        of_product(TABLE, 7, "line_deallocated.v1", "c11", order_id="o1", qty=4, batch_ref="b2", reason="cancelled"),
        of_product(TABLE, 8, "line_allocated.v1", "c11", order_id="o2", qty=1, batch_ref="b2"),
        of_product(TABLE, 9, "back_in_stock.v1", "c11", available_qty=3),
        of_order("o1-cancelled", "order_cancelled.v1", "o1", "c11", {TABLE: 4}),
        of_product(TABLE, 10, "line_deallocated.v1", "k4", order_id="o2", qty=1, batch_ref="b2", reason="cancelled"),
        of_order("o2-cancelled", "order_cancelled.v1", "o2", "k4", {TABLE: 1}),
        Event(
            "n1",
            "allocation_failed.v1",
            "MISSING",
            None,
            {**of("o4", "MISSING"), "qty": 1, "reason": "invalid_sku"},
            "c12",
        ),
        of_order("o4-refused", "order_refused.v1", "o4", "c12", {"MISSING": 1}, reason="invalid_sku"),
    ]
    # A relay that died after sending sends a part again.
    events[9:9] = events[2:6]
    lines = [LineSeen("o1", CHAIR, 3, "shipped", "b1", None), LineSeen("o2", CHAIR, 2, "shipped", "b1", None)]
    batches = [BatchSeen("b1", CHAIR, 10, None, 0, 5, 5), BatchSeen("b2", TABLE, 4, None, 0, 4)]
    return Story(
        entries=entries,
        events=events,
        batches={each.ref: each for each in batches},
        lines={(each.order_id, each.sku): each for each in lines},
        orders={order_id: OrderSeen(order_id, True, None) for order_id in ("o1", "o2")},
        products={CHAIR: ProductSeen(CHAIR, 5, 0, 0, 5), TABLE: ProductSeen(TABLE, 4, 0, 0)},
        inbound=["k1", "k2", "k3", "k4"],
        inbox=["k1", "k2", "k3", "k4"],
    )
