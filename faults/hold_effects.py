"""The expected effects of extending or replacing the hold of an order."""

from collections import Counter
from collections.abc import Sequence

from faults.expected import CONFLICT, HELD, MISSING, OK, REFUSED, RELEASED, Expected, History, placement, reasons
from faults.journal import Entry
from faults.story import Event


def hold_order(expected: Expected, entry: Entry, events: Sequence[Event], history: History) -> None:
    """The held lines of the order get a new end, or are replaced as a whole; a refusal changes nothing.

    It is a command over HTTP only, so its response shows the outcome.
    """
    order_id, final = entry.data["order_id"], entry.final
    unsure = expected.end_holds(entry, history)
    status = None if final is None else final.status
    if status != OK or "lines" not in entry.data:
        # A hold that had not ended would have been extended, or the order would not be gone.
        is_over = status == MISSING or (status == OK and "lines" not in entry.data) or _is_not_held(entry)
        expected.remove(*(unsure if is_over else ()))
    if status == OK:
        _check_held(expected, entry, events, unsure)
        return
    own = [event.type for event in events if event.data.get("order_id") == order_id and event.type != REFUSED]
    expected.demand(entry, "the hold was refused, and the order had events", len(own), 0)
    lines = expected.lines_of(order_id)
    if _is_not_held(entry):
        firm = [line for line in lines if line not in expected.held]
        wanted = {(order_id, line["sku"]) for line in entry.data.get("lines", ())}
        if not firm or (len(firm) < len(lines) and not wanted.intersection(firm)):
            expected.fault(entry, f"it answered that the order is not held, and it has {lines}")
    elif status == CONFLICT and "lines" in entry.data:
        expected.demand_refusal(entry, [*dict.fromkeys(reasons(events, REFUSED))], "out_of_stock")
    else:
        expected.demand_answer(entry, [OK] if lines or "lines" in entry.data else [MISSING])


def _check_held(expected: Expected, entry: Entry, events: Sequence[Event], unsure: Sequence[tuple[str, str]]) -> None:
    """Each line is held once until the new end; lines that are replaced were released."""
    order_id = entry.data["order_id"]
    present = {sku: expected.lines[order_id, sku] or 0 for _, sku in expected.lines_of(order_id)}
    held = {sku: qty for sku, qty in present.items() if (order_id, sku) in expected.held}
    firm = present.keys() - held.keys()
    wanted = {line["sku"]: line["qty"] for line in entry.data["lines"]} if "lines" in entry.data else held
    if firm.intersection(wanted) or (firm and not held) or not wanted:
        expected.fault(entry, f"it was held, and its firm lines were {sorted(firm)}, its held ones {held}")
    published = [event for event in events if event.type == HELD and event.data["order_id"] == order_id]
    now = Counter((event.subject, event.data["qty"]) for event in published)
    if now != Counter(wanted.items()):
        expected.fault(entry, f"it should hold {wanted}, and the events say {dict(now)}")
    released = [event for event in events if event.type == RELEASED and event.data["reason"] == "replaced"]
    lost = Counter((event.subject, event.data["qty"]) for event in released)
    # A line without an event may have been over before.
    replaced = Counter((sku, qty) for sku, qty in held.items() if wanted.get(sku) != qty)
    maybe = Counter((sku, held[sku]) for _, sku in unsure if sku in held and sku not in wanted)
    if lost - replaced or replaced - lost - maybe:
        expected.fault(entry, f"it should release {dict(replaced)}, and the events say {dict(lost)}")
    _compare_answer(expected, entry, published)
    for sku in held.keys() - wanted.keys():
        expected.remove((order_id, sku))
    for sku, qty in wanted.items():
        expected.accept((order_id, sku), qty, is_held=True)
    if "lines" in entry.data:
        rest = {sku: expected.lines[order_id, sku] or 0 for _, sku in expected.lines_of(order_id)}
        expected.place(order_id, rest, is_held=True)


def _compare_answer(expected: Expected, entry: Entry, published: Sequence[Event]) -> None:
    """The response has the held lines as the events have them, with one end."""
    if entry.final is None:
        return
    body = entry.final.body
    answered = {line["sku"]: (placement(line), line["held_until"]) for line in body["lines"] if line["held_until"]}
    if answered != {event.subject: (placement(event.data), event.data["held_until"]) for event in published}:
        expected.fault(entry, f"the answer says {body}, the events {[event.data for event in published]}")
    if len({until for _, until in answered.values()}) > 1:
        expected.fault(entry, f"its lines are held until several times: {answered}")


def _is_not_held(entry: Entry) -> bool:
    final = entry.final
    return final is not None and final.status == CONFLICT and final.body["code"] == "not-held"
