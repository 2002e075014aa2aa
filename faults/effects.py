"""Compares the commands of each client, in order, with the events that they caused.

Each order and each batch belongs to one client that waits for a response before it continues, so the effect of every
command is known, whatever other clients did.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from faults.expected import CONFLICT, CREATED, HELD, OK, Expected, History
from faults.hold_effects import hold_order
from faults.journal import Answer, Entry, Kind
from faults.line_effects import allocate, cancel, ship
from faults.order_effects import cancel_order, place_order
from faults.story import Event

USUAL_TERMS: dict[str, Any] = {"location": "main", "best_before": None, "blocked": False}


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


def _create_batch(expected: Expected, entry: Entry, events: Sequence[Event], _: History) -> None:
    ref = entry.data["ref"]
    created = [event for event in events if event.type == "batch_created.v1"]
    if ref in expected.batches:
        expected.demand(entry, "the batch was known, and was recorded", len(created), 0)
        expected.demand_answer(entry, [OK])
        return
    expected.batches[ref] = (entry.data["qty"], entry.data["eta"])
    expected.terms[ref] = {name: entry.data.get(name, usual) for name, usual in USUAL_TERMS.items()}
    expected.demand(entry, "the batch was recorded", len(created), 1)
    expected.demand_answer(entry, [CREATED], [OK])


def _change_batch(expected: Expected, entry: Entry, events: Sequence[Event], history: History) -> None:
    ref = entry.data["ref"]
    if ref not in expected.batches:
        expected.fault(entry, "its client had not recorded the batch")
        return
    qty, eta = expected.batches[ref]
    after = (entry.data.get("qty", qty), entry.data.get("eta", eta))
    refused = _is_below_shipped(entry, events, is_change=after != (qty, eta))
    if refused:
        after = (qty, eta)
        shipped = history.shipped_qty(entry)
        if shipped <= entry.data["qty"]:
            expected.fault(entry, f"it was not done, and only {shipped} pieces had left the batch")
    expected.batches[ref] = after
    _check_terms(expected, entry, events)
    # The ETA changes first, so its event has the previous quantity.
    for kind, before, now in (("eta", (qty, eta), (qty, after[1])), ("quantity", (qty, after[1]), after)):
        published = [event for event in events if event.type == f"batch_{kind}_changed.v1"]
        expected.demand(entry, f"the {kind} was changed", len(published), int(now != before))
        if any((event.data["qty"], event.data["eta"]) != now for event in published):
            expected.fault(entry, f"it should be {now} then, and the event says {published[0].data}")
    expected.demand_answer(entry, [CONFLICT if refused else OK])
    if entry.via == "http" and entry.final is not None and entry.final.status == OK:
        _compare_moves(expected, entry, entry.final.body, events)


def _check_terms(expected: Expected, entry: Entry, events: Sequence[Event]) -> None:
    """Terms that differ from those before are published once. The load changes them alone."""
    before = expected.terms[entry.data["ref"]]
    now = {name: entry.data.get(name, value) for name, value in before.items()}
    expected.terms[entry.data["ref"]] = now
    published = [event for event in events if event.type == "batch_changed.v1"]
    expected.demand(entry, "the terms were changed", len(published), int(now != before))
    if any({name: event.data[name] for name in now} != now for event in published):
        expected.fault(entry, f"it should be {now} then, and the event says {published[0].data}")


def _is_below_shipped(entry: Entry, events: Sequence[Event], *, is_change: bool) -> bool:
    """Whether more was shipped than the requested quantity. Over Kafka only the absence of events shows it."""
    if "qty" not in entry.data:
        return False
    if entry.via == "kafka":
        return is_change and not any(event.type == "batch_quantity_changed.v1" for event in events)
    return entry.final is not None and entry.final.status == CONFLICT


def _compare_moves(expected: Expected, entry: Entry, body: Any, events: Sequence[Event]) -> None:  # noqa: ANN401 - JSON
    """The response has the moves of the events; a repeated request moves nothing."""
    published = {event.data["order_id"] for event in events if event.type in {"line_deallocated.v1", HELD}}
    moved = {move["order_id"] for move in body["moved"]}
    if moved != published and not (entry.had_unknown and not moved):
        if not moved:
            expected.reruns.append(f"{entry} answered that nothing moved, at its first attempt")
            return
        expected.fault(entry, f"the answer says {sorted(moved)} moved, the events {sorted(published)}")


CHECKS: dict[Kind, Callable[[Expected, Entry, Sequence[Event], History], None]] = {
    "create_batch": _create_batch,
    "change_batch": _change_batch,
    "allocate": allocate,
    "cancel": cancel,
    "ship": ship,
    "place_order": place_order,
    "cancel_order": cancel_order,
    "hold_order": hold_order,
}
