"""The expected effects of commands on an order: all of its lines or none, and one event for the whole.

Its lines are placed only with the order, but can be cancelled or shipped individually.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from faults.expected import (
    ACCEPTED,
    BAD,
    CONFLICT,
    CREATED,
    GONE,
    HELD,
    MISSING,
    OK,
    REFUSED,
    RELEASED,
    Expected,
    History,
    Line,
    is_refused,
    placement,
    reasons,
)
from faults.journal import Entry
from faults.story import Event


def place_order(expected: Expected, entry: Entry, events: Sequence[Event], history: History) -> None:
    """An order is accepted or held once with all of its lines, or refused; a held one is confirmed.

    A known one stays as it is. Of a held one, lines whose holds have ended are placed like new ones.
    """
    order_id, is_hold = entry.data["order_id"], "hold_for" in entry.data
    wanted = {line["sku"]: line["qty"] for line in entry.data["lines"]}
    published = [event for event in events if event.type == "order_placed.v1"]
    accepted = _accepted(events, order_id)
    # A hold that is refused has only the events of its lines.
    refused = list(dict.fromkeys(_own_failures(events, order_id))) if is_hold else reasons(events, "order_refused.v1")
    if is_hold:
        expected.demand(entry, "a hold was published", len(published) + len(reasons(events, "order_refused.v1")), 0)
    else:
        _check_refused_lines(expected, entry, events)
    _end_holds(expected, entry, history, wanted, is_new=bool(accepted), refused=refused)
    placed = expected.placed(order_id)
    if placed and placed != wanted:
        _demand_nothing(expected, entry, events, "the order was known with other lines")
        expected.demand_refusal(entry, refused, "conflict")
        expected.demand_answer(entry, [CONFLICT])
    elif placed and (is_hold or not expected.is_held(order_id)):
        _demand_nothing(expected, entry, events, "the order was known")
        expected.demand(entry, "the order was known, and was refused", len(refused), 0)
        expected.demand_answer(entry, [OK])
        expected.place(order_id, placed, is_held=expected.is_held(order_id))
    elif not wanted.keys() <= expected.skus:
        _demand_nothing(expected, entry, events, "an order of an unknown SKU")
        expected.demand_refusal(entry, refused, "invalid_sku")
        expected.demand_answer(entry, [BAD])
    elif is_refused(entry, [event for found in accepted.values() for event in found] if is_hold else published):
        _demand_nothing(expected, entry, events, "the order was refused")
        expected.demand_refusal(entry, refused, "out_of_stock")
    else:
        _check_accepted(expected, entry, published, accepted, wanted)
        if not entry.had_unknown:
            expected.demand(entry, "the order was accepted, and refused", len(refused), 0)


def _end_holds(
    expected: Expected,
    entry: Entry,
    history: History,
    wanted: Mapping[str, int],
    *,
    is_new: bool,
    refused: Sequence[str],
) -> None:
    """Remove the lines whose holds had ended; where that is not sure, the outcome shows it."""
    unsure = expected.end_holds(entry, history)
    is_same = expected.placed(entry.data["order_id"]) == wanted
    if is_new or {"out_of_stock", "invalid_sku"}.intersection(refused):
        # What is not the same, or is held again, is compared with the order of that id, so none was left.
        is_over = "hold_for" in entry.data or not is_same
    else:
        # What was placed was over, and a line that was placed alone was left.
        is_over = is_same and "conflict" in refused
    expected.remove(*(unsure if is_over else ()))


def _check_accepted(
    expected: Expected,
    entry: Entry,
    published: Sequence[Event],
    accepted: dict[Line, list[Event]],
    wanted: dict[str, int],
) -> None:
    """A new order is published, but not a hold."""
    order_id, is_hold = entry.data["order_id"], "hold_for" in entry.data
    if not is_hold:
        expected.demand(entry, "the order was published as placed", len(published), 1)
    if any((event.subject, _lines(event)) != (order_id, sorted(wanted.items())) for event in published):
        expected.fault(entry, f"the event says {published[0].data}")
    _check_lines(expected, entry, accepted, wanted)
    for sku, qty in wanted.items():
        expected.accept((order_id, sku), qty, is_held=is_hold)
    expected.place(order_id, wanted, is_held=is_hold)
    expected.demand_answer(entry, [CREATED], [OK])


def cancel_order(expected: Expected, entry: Entry, events: Sequence[Event], history: History) -> None:
    """Every line goes that has not been shipped, each once, and nothing else does."""
    order_id = entry.data["order_id"]
    # A hold that had not ended would have been released by the command.
    expected.remove(*expected.end_holds(entry, history))
    if entry.via == "kafka" and not events:
        # A message may have waited while a hold ended. A hold that is left after it is found at the end.
        expected.remove(*[line for line in expected.lines_of(order_id) if line in expected.held])
    lines = expected.lines_of(order_id)
    open_lines = [line for line in lines if line not in expected.shipped]
    firm = [line for line in open_lines if line not in expected.held]
    for type_, own in (("line_deallocated.v1", firm), (RELEASED, [line for line in open_lines if line not in firm])):
        gone = Counter(
            (event.data["order_id"], event.data["sku"])
            for event in events
            if event.type == type_ and event.data["reason"] == "cancelled"
        )
        if gone != Counter(own):
            expected.fault(entry, f"the order was to lose {own}, and lost {dict(gone)}")
    published = [event for event in events if event.type == "order_cancelled.v1"]
    expected.demand(entry, "the order was published as cancelled", len(published), int(bool(firm)))
    values = [(sku, expected.lines[order_id, sku]) for _, sku in firm]
    if any((event.subject, _lines(event)) != (order_id, values) for event in published):
        expected.fault(entry, f"the event says {published[0].data}, and cancelled were {values}")
    if not lines:
        expected.demand_answer(entry, [MISSING])
    else:
        # Where something has been shipped the order is still there, however often it is cancelled.
        expected.demand_answer(entry, [GONE], [MISSING] if open_lines == lines else [])
    expected.remove(*open_lines)


def _accepted(events: Iterable[Event], order_id: str) -> dict[Line, list[Event]]:
    """The order's own lines that were accepted, held or confirmed: none of them was moved."""
    found: dict[Line, list[Event]] = {}
    for event in events:
        if event.type in (*ACCEPTED, HELD) and event.data["order_id"] == order_id:
            found.setdefault((order_id, event.subject), []).append(event)
    return found


def _demand_nothing(expected: Expected, entry: Entry, events: Sequence[Event], what: str) -> None:
    published = sum(event.type == "order_placed.v1" for event in events)
    expected.demand(entry, f"{what}, and was published as placed", published, 0)
    accepted = _accepted(events, entry.data["order_id"])
    expected.demand(entry, f"{what}, and lines of it were accepted", len(accepted), 0)


def _check_lines(expected: Expected, entry: Entry, accepted: dict[Line, list[Event]], wanted: dict[str, int]) -> None:
    """Each line was accepted once, in a way that suits the request and its earlier state.

    A confirmed line is allocated, and a firm one has no event. The response has the status of each.
    """
    order_id, final, is_hold = entry.data["order_id"], entry.final, "hold_for" in entry.data
    firm = {sku for sku in wanted if expected.lines.get((order_id, sku)) and (order_id, sku) not in expected.held}
    for sku in wanted:
        times = len(accepted.get((order_id, sku), ()))
        expected.demand(entry, f"its line of {sku} was accepted", times, int(sku not in firm))
    events = {sku: found[0] for (_, sku), found in accepted.items()}
    waiting = sorted(sku for sku, event in events.items() if event.type == ACCEPTED[1])
    if waiting and entry.data.get("if_unavailable") == "reject":
        expected.fault(entry, f"its lines of {waiting} wait, and nothing was to be kept then")
    lost = sorted({sku for sku in waiting if (order_id, sku) in expected.held})
    if lost:
        expected.fault(entry, f"its lines of {lost} were held, and wait now")
    held = {event.data["held_until"] for event in events.values() if event.type == HELD}
    if len(held) != int(is_hold) or (is_hold and any(event.type != HELD for event in events.values())):
        expected.fault(entry, f"its lines are held until {sorted(held)}: {[event.data for event in events.values()]}")
    if entry.via == "kafka" or final is None or final.status != CREATED:
        return
    answered = {line["sku"]: placement(line) for line in final.body["lines"] if line["sku"] not in firm}
    if answered != {sku: placement(event.data) for sku, event in events.items()}:
        expected.fault(entry, f"the answer says {final.body}, the events {[event.data for event in events.values()]}")
    if {line["held_until"] for line in final.body["lines"] if line.get("held_until")} != held:
        expected.fault(entry, f"the answer says {final.body}, and the holds end {sorted(held)}")
    if not firm and final.body["complete"] != (not waiting and not is_hold):
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


def _own_failures(events: Iterable[Event], order_id: str) -> list[str]:
    return reasons((event for event in events if event.data.get("order_id") == order_id), REFUSED)


def _lines(event: Event) -> list[tuple[Any, Any]]:
    return [(line["sku"], line["qty"]) for line in event.data["lines"]]
