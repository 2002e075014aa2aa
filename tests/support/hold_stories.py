"""A story for the oracle of `make faults`: lines and orders that are held, confirmed, extended, and whose holds end."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from faults.journal import Entry
from faults.story import BatchSeen, Event, LineSeen, OrderSeen, ProductSeen, Story
from tests.support.order_stories import CHAIR, TABLE, message_lines, of
from tests.support.stories import Mutation, entry, renumber

START = datetime(2030, 1, 1, tzinfo=UTC)
LATE = 2000
"""Seconds after the start; a hold that ends then does not end in the story."""


def at(seconds: float) -> str:
    """The time `seconds` after the start, as JSON has it."""
    return (START + timedelta(seconds=seconds)).isoformat()


def hold(order_id: str, sku: str, qty: int, hold_for: int = 10) -> dict[str, Any]:
    """The data of a line that is to be held."""
    return {**of(order_id, sku), "qty": qty, "hold_for": hold_for}


def confirm(order_id: str, sku: str, qty: int) -> dict[str, Any]:
    """The data of a line that is to be firm."""
    return {**of(order_id, sku), "qty": qty, "if_unavailable": "backorder"}


def shown(order_id: str, sku: str, qty: int, ref: str, until: float | None = None) -> dict[str, Any]:
    """A line as responses show it."""
    status, held_until = ("allocated", None) if until is None else ("held", at(until))
    return {**of(order_id, sku), "qty": qty, "status": status, "batch_ref": ref, "eta": None, "held_until": held_until}


def event(name: str, cause: str, sku: str, order_id: str, qty: int, ref: str, when: float = 1, **more: Any) -> Event:
    """An event of a line, `when` seconds after the start."""
    data = {**of(order_id, sku), "qty": qty, "batch_ref": ref, **more}
    return Event("", f"{name}.v1", sku, 0, data, cause, (START + timedelta(seconds=when)).timestamp())


def held(cause: str, sku: str, order_id: str, qty: int, ref: str, until: float) -> Event:
    """The event of a hold."""
    return event("line_held", cause, sku, order_id, qty, ref, held_until=at(until))


def ended(cause: str, sku: str, order_id: str, qty: int, ref: str, reason: str, when: float = 1) -> Event:
    """The event of the end of a hold."""
    return event("hold_released", cause, sku, order_id, qty, ref, when, reason=reason)


def of_batch(name: str, cause: str, sku: str, ref: str, qty: int) -> Event:
    """An event of a batch."""
    return Event("", f"{name}.v1", sku, 0, {"sku": sku, "ref": ref, "qty": qty, "eta": None}, cause)


def keyed(command: Entry, key: str = "", repeats: str = "") -> Entry:
    """The command with an Idempotency-Key."""
    command.idempotency_key, command.repeats = key or f"key-{command.id}", repeats
    return command


def order_of(order_id: str, *lines: dict[str, Any]) -> dict[str, Any]:
    """An order as responses show it."""
    return {"order_id": order_id, "lines": list(lines), "complete": not any(line["held_until"] for line in lines)}


def _entries() -> list[Entry]:
    batches = [{"ref": ref, "sku": sku, "qty": qty, "eta": None} for ref, sku, qty in BATCHES]
    o1, o1_less = {"order_id": "o1", "lines": message_lines({CHAIR: 2, TABLE: 3})}, message_lines({CHAIR: 2, TABLE: 1})
    moved = {"order_id": "h3", "sku": CHAIR, "qty": 3, "from_batch_ref": "b1", "to_batch_ref": "b3"}
    return [
        *(entry(f"c{number}", "create_batch", each, (201, each)) for number, each in enumerate(batches, start=1)),
        keyed(entry("c4", "allocate", hold("h1", CHAIR, 3), (None, None), (201, shown("h1", CHAIR, 3, "b1", 10)))),
        keyed(entry("c5", "allocate", hold("h1", CHAIR, 3), (201, shown("h1", CHAIR, 3, "b1", 10))), "key-c4", "c4"),
        keyed(entry("c6", "allocate", hold("h1", CHAIR, 3, 20), (200, shown("h1", CHAIR, 3, "b1", 10)))),
        keyed(entry("c7", "ship", of("h1", CHAIR), (409, {"code": "not-confirmed"}))),
        keyed(entry("c8", "allocate", confirm("h1", CHAIR, 3), (201, shown("h1", CHAIR, 3, "b1")))),
        keyed(entry("c9", "allocate", hold("h2", CHAIR, 2, 2), (201, shown("h2", CHAIR, 2, "b1", 2)))),
        keyed(entry("c10", "allocate", confirm("h2", CHAIR, 2), (201, shown("h2", CHAIR, 2, "b1")))),
        keyed(
            entry(
                "c11",
                "place_order",
                {**o1, "hold_for": 20},
                (201, order_of("o1", shown("o1", CHAIR, 2, "b1", 20), shown("o1", TABLE, 3, "b2", 20))),
            )
        ),
        keyed(
            entry(
                "c12",
                "hold_order",
                {"order_id": "o1", "hold_for": 30},
                (200, order_of("o1", shown("o1", CHAIR, 2, "b1", 30), shown("o1", TABLE, 3, "b2", 30))),
            )
        ),
        keyed(
            entry(
                "c13",
                "hold_order",
                {"order_id": "o1", "hold_for": 40, "lines": o1_less},
                (200, order_of("o1", shown("o1", CHAIR, 2, "b1", 40), shown("o1", TABLE, 1, "b2", 40))),
            )
        ),
        keyed(
            entry(
                "c14",
                "place_order",
                {"order_id": "o1", "lines": o1_less, "if_unavailable": "reject"},
                (201, order_of("o1", shown("o1", CHAIR, 2, "b1"), shown("o1", TABLE, 1, "b2"))),
            )
        ),
        keyed(entry("c15", "allocate", hold("h3", CHAIR, 3, LATE), (201, shown("h3", CHAIR, 3, "b1", LATE)))),
        entry("c16", "change_batch", {"ref": "b1", "sku": CHAIR, "qty": 7}, (200, {"moved": [moved]})),
        entry("k1", "allocate", hold("h4", TABLE, 2, 2), (200, None), via="kafka"),
        entry("k2", "allocate", confirm("h4", TABLE, 2), (200, None), via="kafka"),
        keyed(entry("c17", "allocate", hold("h5", TABLE, 1), (201, shown("h5", TABLE, 1, "b2", 10)))),
        keyed(entry("c18", "cancel", of("h5", TABLE), (204, None))),
        keyed(entry("c19", "allocate", hold("h6", TABLE, 9), (409, {"code": "out-of-stock"}))),
        keyed(entry("c20", "hold_order", {"order_id": "o9", "hold_for": 10}, (404, {"code": "order-not-found"}))),
        keyed(entry("c21", "allocate", hold("h7", TABLE, 1, 2), (201, shown("h7", TABLE, 1, "b2", 2)))),
        keyed(entry("c22", "ship", of("h7", TABLE), (404, {"code": "allocation-not-found"}))),
    ]


BATCHES = [("b1", CHAIR, 10), ("b2", TABLE, 10), ("b3", CHAIR, 4)]


def _events() -> list[Event]:
    events = [
        *(of_batch("batch_created", f"c{n}", sku, ref, qty) for n, (ref, sku, qty) in enumerate(BATCHES, start=1)),
        held("c4", CHAIR, "h1", 3, "b1", 10),
        event("line_allocated", "c8", CHAIR, "h1", 3, "b1"),
        held("c9", CHAIR, "h2", 2, "b1", 2),
        ended("expiry-1", CHAIR, "h2", 2, "b1", "expired", when=2),
        event("line_allocated", "c10", CHAIR, "h2", 2, "b1", when=3),
        held("c11", CHAIR, "o1", 2, "b1", 20),
        held("c11", TABLE, "o1", 3, "b2", 20),
        held("c12", CHAIR, "o1", 2, "b1", 30),
        held("c12", TABLE, "o1", 3, "b2", 30),
        held("c13", CHAIR, "o1", 2, "b1", 40),
        ended("c13", TABLE, "o1", 3, "b2", "replaced"),
        held("c13", TABLE, "o1", 1, "b2", 40),
        event("line_allocated", "c14", CHAIR, "o1", 2, "b1"),
        event("line_allocated", "c14", TABLE, "o1", 1, "b2"),
        held("c15", CHAIR, "h3", 3, "b1", LATE),
        of_batch("batch_quantity_changed", "c16", CHAIR, "b1", 7),
        held("c16", CHAIR, "h3", 3, "b3", LATE),
        held("k1", TABLE, "h4", 2, "b2", 2),
        ended("expiry-2", TABLE, "h4", 2, "b2", "expired", when=2.5),
        event("line_allocated", "k2", TABLE, "h4", 2, "b2", when=3),
        held("c17", TABLE, "h5", 1, "b2", 10),
        ended("c18", TABLE, "h5", 1, "b2", "cancelled"),
        Event("", "allocation_failed.v1", TABLE, 0, {**of("h6", TABLE), "qty": 9, "reason": "out_of_stock"}, "c19"),
        held("c21", TABLE, "h7", 1, "b2", 2),
        ended("expiry-3", TABLE, "h7", 1, "b2", "expired", when=2),
    ]
    counts: Counter[str] = Counter()
    numbered: list[Event] = []
    for each in events:
        counts[each.subject] += 1
        number = counts[each.subject]
        numbered.append(_numbered(each, number))
    placed = {"order_id": "o1", "lines": message_lines({CHAIR: 2, TABLE: 1})}
    return [*numbered, Event("o1-placed", "order_placed.v1", "o1", None, placed, "c14")]


def _numbered(each: Event, number: int) -> Event:
    return Event(f"{each.subject}-{number}", each.type, each.subject, number, each.data, each.cause, each.created)


def seen(order_id: str, sku: str, qty: int, status: str, ref: str | None, until: float | None = None) -> LineSeen:
    """A line of the read side."""
    return LineSeen(order_id, sku, qty, status, ref, None, None if until is None else at(until))


def hold_story() -> Story:
    """Chairs in b1 and later in b3, tables in b2.

    h1 is held, held again, and confirmed. The hold of h2 ends before its confirmation, so that this places it anew. o1
    is held, extended, loses tables, and is confirmed. h3 moves to b3 because b1 is cut. h4 does over Kafka what h2 did.
    h5 is cancelled, h6 refused, o9 is not there, and h7 runs out.
    """
    lines = [
        seen("h1", CHAIR, 3, "allocated", "b1"),
        seen("h2", CHAIR, 2, "allocated", "b1"),
        seen("h3", CHAIR, 3, "held", "b3", LATE),
        seen("h4", TABLE, 2, "allocated", "b2"),
        seen("o1", CHAIR, 2, "allocated", "b1"),
        seen("o1", TABLE, 1, "allocated", "b2"),
    ]
    batches = [
        BatchSeen("b1", CHAIR, 7, None, 7, 0),
        BatchSeen("b2", TABLE, 10, None, 3, 7),
        BatchSeen("b3", CHAIR, 4, None, 3, 1, held_qty=3),
    ]
    return Story(
        entries=_entries(),
        events=_events(),
        batches={each.ref: each for each in batches},
        lines={(each.order_id, each.sku): each for each in lines},
        orders={"o1": OrderSeen("o1", True, None)},
        products={CHAIR: ProductSeen(CHAIR, 1, 10, 0, held_qty=3), TABLE: ProductSeen(TABLE, 7, 3, 0)},
        inbound=["k1", "k2"],
        inbox=["k1", "k2"],
        now=(START + timedelta(seconds=LATE / 2)).timestamp(),
    )


def event_id(story: Story, cause: str, name: str, sku: str) -> str:
    """The id of an event of the story."""
    (found,) = (each.id for each in story.events if (each.cause, each.type, each.subject) == (cause, f"{name}.v1", sku))
    return found


def lose(cause: str, name: str, sku: str = CHAIR) -> Mutation:
    """Remove an event of the command."""

    def mutate(story: Story) -> None:
        id_ = event_id(story, cause, name, sku)
        story.events = [each for each in story.events if each.id != id_]
        renumber(story)

    return mutate


def put(after: str, name: str, new: Event) -> Mutation:
    """Insert an event after that one of the same SKU."""

    def mutate(story: Story) -> None:
        ids = [each.id for each in story.events]
        place = ids.index(event_id(story, after, name, new.subject)) + 1
        story.events.insert(place, replace(new, id="new"))
        renumber(story)

    return mutate


def alter(cause: str, name: str, sku: str = CHAIR, *, created: float | None = None, **data: Any) -> Mutation:
    """Change an event of the command."""

    def mutate(story: Story) -> None:
        id_ = event_id(story, cause, name, sku)
        for place, each in enumerate(story.events):
            if each.id == id_:
                moved = each.created if created is None else each.created + created
                story.events[place] = replace(each, data={**each.data, **data}, created=moved)

    return mutate


def forget_line(order_id: str, sku: str) -> Mutation:
    """Remove a line from the read side."""

    def mutate(story: Story) -> None:
        del story.lines[order_id, sku]

    return mutate
