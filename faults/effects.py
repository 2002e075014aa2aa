"""Compares the commands of each client, in order, with the events that they caused.

Each order and each batch belongs to one client that waits for a response before it continues, so the effect of every
command is known, whatever other clients did.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from faults.batch_effects import change_batch, count_product, create_batch, set_reorder_point
from faults.cart_effects import check_out, set_item
from faults.expected import Expected, History
from faults.hold_effects import hold_order
from faults.journal import Answer, Entry, Kind
from faults.line_effects import allocate, cancel, ship
from faults.order_effects import cancel_order, place_order
from faults.story import Event


def check_effects(entries: Sequence[Entry], caused: Mapping[str, Sequence[Event]]) -> Expected:
    """Check every command; violations are in `faults`."""
    expected = Expected(skus={entry.data["sku"] for entry in entries if entry.kind == "create_batch"})
    history = History(entries, (event for events in caused.values() for event in events))
    for entry in entries:
        if entry.subject in expected.unclear:
            continue
        if entry.final is None:
            # Another check reports that; its consequences are unknown.
            expected.forget(entry)
            continue
        expected.name_lines(entry)
        check = _repeat if entry.repeats else CHECKS[entry.kind]
        check(expected, entry, caused.get(entry.id, ()), history)
        if "hold_for" in entry.data:
            said = [event for event in caused.get(entry.id, ()) if event.type == "out_of_stock.v1"]
            expected.demand(entry, "a hold said that stock is out", len(said), 0)
    expected.end_last_holds(history)
    return expected


def _repeat(expected: Expected, entry: Entry, events: Sequence[Event], history: History) -> None:
    """The same request with the same Idempotency-Key has no effect, and the response of the first one."""
    expected.demand(entry, f"it repeats {entry.repeats}, and caused events", len(events), 0)
    first = history.entries[entry.repeats].final
    if first is not None and entry.final is not None and _content(first) != _content(entry.final):
        expected.fault(entry, f"its key was answered {_content(first)} before, and now {_content(entry.final)}")


def _content(answer: Answer) -> tuple[int | None, Any]:
    return answer.status, answer.body


CHECKS: dict[Kind, Callable[[Expected, Entry, Sequence[Event], History], None]] = {
    "create_batch": create_batch,
    "change_batch": change_batch,
    "count_product": count_product,
    "set_reorder_point": set_reorder_point,
    "allocate": allocate,
    "cancel": cancel,
    "ship": ship,
    "place_order": place_order,
    "cancel_order": cancel_order,
    "hold_order": hold_order,
    "set_item": set_item,
    "check_out": check_out,
}
