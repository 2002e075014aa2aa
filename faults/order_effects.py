"""The expected effects of commands on an order: all of its lines or none, and one event for the whole.

Its lines are placed only with the order, but can be cancelled or shipped individually.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from faults.expected import (
    ACCEPTED,
    BAD,
    CONFLICT,
    CREATED,
    GONE,
    MISSING,
    OK,
    Expected,
    History,
    Line,
    is_refused,
    placement,
    reasons,
)
from faults.journal import Entry
from faults.story import Event


def place_order(expected: Expected, entry: Entry, events: Sequence[Event], _: History) -> None:
    """An order is accepted once with all of its lines, or refused; a known one stays as it is."""
    order_id = entry.data["order_id"]
    wanted = {line["sku"]: line["qty"] for line in entry.data["lines"]}
    published = [event for event in events if event.type == "order_placed.v1"]
    refused = reasons(events, "order_refused.v1")
    _check_refused_lines(expected, entry, events)
    if expected.lines_of(order_id) and expected.orders[order_id] == wanted:
        _demand_nothing(expected, entry, events, "the order was known")
        expected.demand(entry, "the order was known, and was refused", len(refused), 0)
        expected.demand_answer(entry, [OK])
    elif expected.lines_of(order_id):
        _demand_nothing(expected, entry, events, "the order was known with other lines")
        expected.demand_refusal(entry, refused, "conflict")
        expected.demand_answer(entry, [CONFLICT])
    elif not wanted.keys() <= expected.skus:
        _demand_nothing(expected, entry, events, "an order of an unknown SKU")
        expected.demand_refusal(entry, refused, "invalid_sku")
        expected.demand_answer(entry, [BAD])
    elif is_refused(entry, published):
        _demand_nothing(expected, entry, events, "the order was refused")
        expected.demand_refusal(entry, refused, "out_of_stock")
    else:
        expected.orders[order_id] = wanted
        expected.lines.update({(order_id, sku): qty for sku, qty in wanted.items()})
        expected.demand(entry, "the order was published as placed", len(published), 1)
        if any((event.subject, _lines(event)) != (order_id, sorted(wanted.items())) for event in published):
            expected.fault(entry, f"the event says {published[0].data}")
        _check_lines(expected, entry, _accepted(events, order_id), wanted)
        expected.demand_answer(entry, [CREATED], [OK])
        if not entry.had_unknown:
            expected.demand(entry, "the order was accepted, and refused", len(refused), 0)


def cancel_order(expected: Expected, entry: Entry, events: Sequence[Event], _: History) -> None:
    """Every line goes that has not been shipped, each once, and nothing else does."""
    order_id = entry.data["order_id"]
    lines = expected.lines_of(order_id)
    open_lines = [line for line in lines if line not in expected.shipped]
    gone = Counter(
        (event.data["order_id"], event.data["sku"])
        for event in events
        if event.type == "line_deallocated.v1" and event.data["reason"] == "cancelled"
    )
    if gone != Counter(open_lines):
        expected.fault(entry, f"the order was to lose {open_lines}, and lost {dict(gone)}")
    published = [event for event in events if event.type == "order_cancelled.v1"]
    expected.demand(entry, "the order was published as cancelled", len(published), int(bool(open_lines)))
    values = [(sku, expected.lines[order_id, sku]) for _, sku in open_lines]
    if any((event.subject, _lines(event)) != (order_id, values) for event in published):
        expected.fault(entry, f"the event says {published[0].data}, and cancelled were {values}")
    if not lines:
        expected.demand_answer(entry, [MISSING])
    else:
        # Where something has been shipped the order is still there, however often it is cancelled.
        expected.demand_answer(entry, [GONE], [MISSING] if open_lines == lines else [])
    expected.lines.update(dict.fromkeys(open_lines))


def _accepted(events: Iterable[Event], order_id: str) -> dict[Line, list[Event]]:
    """The order's own lines that were accepted: each was new, so none of them was moved."""
    found: dict[Line, list[Event]] = {}
    for event in events:
        if event.type in ACCEPTED and event.data["order_id"] == order_id:
            found.setdefault((order_id, event.subject), []).append(event)
    return found


def _demand_nothing(expected: Expected, entry: Entry, events: Sequence[Event], what: str) -> None:
    published = sum(event.type == "order_placed.v1" for event in events)
    expected.demand(entry, f"{what}, and was published as placed", published, 0)
    accepted = _accepted(events, entry.data["order_id"])
    expected.demand(entry, f"{what}, and lines of it were accepted", len(accepted), 0)


def _check_lines(expected: Expected, entry: Entry, accepted: dict[Line, list[Event]], wanted: dict[str, int]) -> None:
    """Each line was accepted once, none is backordered against the request, and the response has their status."""
    order_id, final = entry.data["order_id"], entry.final
    for sku in wanted:
        expected.demand(entry, f"its line of {sku} was accepted", len(accepted.get((order_id, sku), ())), 1)
    events = {sku: found[0] for (_, sku), found in accepted.items()}
    waiting = sorted(sku for sku, event in events.items() if event.type != ACCEPTED[0])
    if waiting and entry.data.get("if_unavailable") == "reject":
        expected.fault(entry, f"its lines of {waiting} wait, and nothing was to be kept then")
    if entry.via == "kafka" or final is None or final.status != CREATED:
        return
    answered = {line["sku"]: placement(line) for line in final.body["lines"]}
    if answered != {sku: placement(event.data) for sku, event in events.items()}:
        expected.fault(entry, f"the answer says {final.body}, the events {[event.data for event in events.values()]}")
    if final.body["complete"] != (not waiting):
        expected.fault(entry, f"the answer says complete={final.body['complete']}, and {waiting or 'none'} waits")


def _check_refused_lines(expected: Expected, entry: Entry, events: Sequence[Event]) -> None:
    """Each refused line has its own event as well; a conflict concerns the whole order."""
    order_id = entry.data["order_id"]
    refusals = [event for event in events if event.type == "order_refused.v1"]
    if any(event.subject != order_id for event in refusals):
        expected.fault(entry, f"it refuses another order: {refusals[0].data}")
    wanted = Counter(
        (line, event.data["reason"])
        for event in refusals
        if event.data["reason"] != "conflict"
        for line in _lines(event)
    )
    failures = [event.data for event in events if event.type == "allocation_failed.v1"]
    published = Counter(((data["sku"], data["qty"]), data["reason"]) for data in failures)
    if published != wanted:
        expected.fault(entry, f"it is refused for {dict(wanted)}, and its lines for {dict(published)}")


def _lines(event: Event) -> list[tuple[Any, Any]]:
    return [(line["sku"], line["qty"]) for line in event.data["lines"]]
