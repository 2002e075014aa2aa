"""The expected effects of commands on one order line: placing, cancelling, shipping."""

from collections.abc import Sequence

from faults.expected import (
    ACCEPTED,
    ACCEPTED_LATER,
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
    is_refused,
    placement,
    reasons,
)
from faults.journal import Entry
from faults.story import Event


def allocate(expected: Expected, entry: Entry, events: Sequence[Event], history: History) -> None:
    """A line is accepted or held once, or refused; a held line is confirmed, any other known line is unchanged."""
    is_hold = "hold_for" in entry.data
    expected.end_holds(entry, history)
    qty, known = entry.data["qty"], expected.lines.get(entry.line)
    is_confirmed = entry.line in expected.held and not is_hold
    events = _own(events, entry)
    accepted = [event for event in events if event.type in (*ACCEPTED, HELD)]
    failed = reasons(events, REFUSED)
    if known == qty and not is_confirmed:
        expected.demand(entry, "the line was known, and was accepted again", len(accepted), 0)
        expected.demand(entry, "the line was known, and was refused", len(failed), 0)
        expected.demand_answer(entry, [OK])
        return
    if known is not None and known != qty:
        expected.demand(entry, "the line was known with another quantity, and was accepted", len(accepted), 0)
        expected.demand_refusal(entry, failed, "conflict")
        expected.demand_answer(entry, [CONFLICT])
        return
    if entry.data["sku"] not in expected.skus:
        expected.demand(entry, "a line of an unknown SKU was accepted", len(accepted), 0)
        expected.demand_refusal(entry, failed, "invalid_sku")
        expected.demand_answer(entry, [BAD])
        return
    if not is_confirmed and is_refused(entry, accepted):
        expected.demand(entry, "the line was refused, and accepted", len(accepted), 0)
        expected.demand_refusal(entry, failed, "out_of_stock")
        expected.lines[entry.line] = None
        return
    expected.accept(entry.line, qty, is_held=is_hold)
    types = [HELD] if is_hold else [ACCEPTED[0]] if is_confirmed else ACCEPTED
    expected.demand(entry, "the line was accepted", sum(event.type in types for event in accepted), 1)
    expected.demand(entry, "the line was accepted in another way", sum(each.type not in types for each in accepted), 0)
    expected.demand_answer(entry, [CREATED] if is_hold or is_confirmed else [CREATED, ACCEPTED_LATER], [OK])
    if not entry.had_unknown or is_hold or is_confirmed:
        expected.demand(entry, "the line was accepted, and refused", len(failed), 0)
    _compare_placement(expected, entry, accepted)


def cancel(expected: Expected, entry: Entry, events: Sequence[Event], history: History) -> None:
    """A line is cancelled once, unless it was shipped; a hold that has ended is gone."""
    unsure = expected.end_holds(entry, history)
    is_held = entry.line in expected.held
    ends = [event for event in _own(events, entry) if event.type in {"line_deallocated.v1", RELEASED}]
    cancelled = [event for event in ends if (event.type == RELEASED) == is_held]
    expected.demand(entry, "the line was cancelled in another way", len(ends) - len(cancelled), 0)
    if expected.lines.get(entry.line) is None:
        expected.demand(entry, "the line was gone, and was cancelled", len(cancelled), 0)
        expected.demand_answer(entry, [MISSING])
    elif entry.line in expected.shipped:
        expected.demand(entry, "the line had been shipped, and was cancelled", len(cancelled), 0)
        expected.demand_answer(entry, [CONFLICT])
    elif entry.line in unsure:
        # A hold that had not ended would have been released by the command.
        expected.remove(entry.line)
        expected.demand_answer(entry, [MISSING])
    else:
        expected.remove(entry.line)
        expected.demand(entry, "the line was cancelled", len(cancelled), 1)
        expected.demand_answer(entry, [GONE], [MISSING])


def ship(expected: Expected, entry: Entry, events: Sequence[Event], history: History) -> None:
    """An allocated line is shipped once; a backordered, held or removed one is not.

    Over Kafka the outcome is unknown. But if nothing was shipped, the line must have been backordered.
    """
    unsure = expected.end_holds(entry, history)
    shipped = [event for event in events if event.type == "line_shipped.v1"]
    if any((event.data["order_id"], event.data["sku"]) != entry.line for event in shipped):
        expected.fault(entry, f"another line was shipped: {[event.data for event in shipped]}")
    if expected.lines.get(entry.line) is None:
        expected.demand(entry, "the line was gone, and was shipped", len(shipped), 0)
        expected.demand_answer(entry, [MISSING])
    elif entry.line in expected.shipped:
        expected.demand(entry, "the line had been shipped, and was shipped again", len(shipped), 0)
        expected.demand_answer(entry, [OK])
    elif entry.line in expected.held:
        expected.demand(entry, "the line was held, and was shipped", len(shipped), 0)
        _check_unshipped(expected, entry, is_unsure=entry.line in unsure)
    elif not shipped and (entry.via == "kafka" or (entry.final is not None and entry.final.status == CONFLICT)):
        if not history.may_have_waited(entry):
            expected.fault(entry, "the line was not shipped, and no event says that it waited")
    else:
        expected.shipped.add(entry.line)
        expected.demand(entry, "the line was shipped", len(shipped), 1)
        # Of two concurrent attempts the later one may be answered first, while the line is still backordered.
        expected.demand_answer(entry, [OK, CONFLICT] if entry.had_unknown else [OK])
        _compare_shipment(expected, entry, shipped)


def _check_unshipped(expected: Expected, entry: Entry, *, is_unsure: bool) -> None:
    """A held line is not confirmed; a hold that has ended is gone."""
    if entry.via == "http" and entry.final is not None and entry.final.status == MISSING and is_unsure:
        expected.remove(entry.line)
        return
    expected.demand_answer(entry, [CONFLICT])
    if entry.via == "http" and entry.final is not None and entry.final.body["code"] != "not-confirmed":
        expected.fault(entry, f"the line was held, and the answer is {entry.final.body}")


def _own(events: Sequence[Event], entry: Entry) -> list[Event]:
    """The events of the line itself: a command may move other lines, too."""
    return [event for event in events if (event.data.get("order_id"), event.data.get("sku")) == entry.line]


def _compare_placement(expected: Expected, entry: Entry, accepted: Sequence[Event]) -> None:
    """The response for a new line agrees with the event."""
    final = entry.final
    if entry.via == "kafka" or final is None or final.status not in {CREATED, ACCEPTED_LATER} or len(accepted) != 1:
        return
    event = accepted[0]
    is_allocated = event.type != ACCEPTED[1]
    if placement(event.data) != placement(final.body) or (final.status == CREATED) != is_allocated:
        expected.fault(entry, f"the answer says {final.body}, the event {event.type} {event.data}")
    if event.data.get("held_until") != final.body.get("held_until"):
        expected.fault(entry, f"the answer says {final.body}, and the hold ends {event.data.get('held_until')}")


def _compare_shipment(expected: Expected, entry: Entry, shipped: Sequence[Event]) -> None:
    """The response for a shipped line agrees with the event."""
    final = entry.final
    if entry.via == "kafka" or final is None or final.status != OK or len(shipped) != 1:
        return
    if placement(shipped[0].data) != placement(final.body) or final.body["status"] != "shipped":
        expected.fault(entry, f"the answer says {final.body}, the event {shipped[0].data}")
