"""The expected effects of commands on stock: on batches, counts of a product, and reorder points."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from faults.expected import CONFLICT, CREATED, HELD, OK, Expected, History
from faults.journal import Entry
from faults.story import Event

USUAL_TERMS: dict[str, Any] = {"location": "main", "best_before": None, "blocked": False}


def create_batch(expected: Expected, entry: Entry, events: Sequence[Event], _: History) -> None:
    """A batch is recorded once."""
    ref = entry.data["ref"]
    created = [event for event in events if event.type == "batch_created.v1"]
    if ref in expected.batches:
        expected.demand(entry, "the batch was known, and was recorded", len(created), 0)
        expected.demand_answer(entry, [OK])
        return
    expected.batches[ref] = (entry.data["qty"], entry.data["eta"])
    expected.terms[ref] = _terms(entry.data)
    expected.demand(entry, "the batch was recorded", len(created), 1)
    expected.demand_answer(entry, [CREATED], [OK])


def change_batch(expected: Expected, entry: Entry, events: Sequence[Event], history: History) -> None:
    """Each value that differs from the one before is published once; nothing changes below the shipped quantity."""
    ref = entry.data["ref"]
    if ref not in expected.batches:
        expected.fault(entry, "its client had not recorded the batch")
        return
    qty, eta = expected.batches[ref]
    after = (_wanted_qty(qty, entry, history), entry.data.get("eta", eta))
    refused = _is_below_shipped(entry, events, is_change=after != (qty, eta))
    if refused:
        shipped = max(history.shipped_qtys(entry, [ref]))
        if shipped <= after[0]:
            expected.fault(entry, f"it was not done, and only {shipped} pieces had left the batch")
        after = (qty, eta)
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
    if not entry.data.keys() & {"qty", "shipped_qty"}:
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


def count_product(expected: Expected, entry: Entry, events: Sequence[Event], history: History) -> None:
    """The batches of the product in the location have the counted pieces on hand, in whichever way they got there.

    One client has all the batches of the product, so their quantities are known. Which of them gets or loses pieces is
    left to the outside judge.
    """
    sku, wanted = entry.data["sku"], entry.data["on_hand_qty"]
    created = [event for event in events if event.type == "batch_created.v1"]
    for event in created:
        ref = event.data["ref"]
        expected.batches[ref], expected.terms[ref] = (event.data["qty"], event.data["eta"]), _terms(event.data)
    own = [ref for ref in expected.batches if expected.terms[ref]["sku"] == sku]
    counted = [ref for ref in own if _place(expected, ref) == (entry.data["location"], None)]
    published = [event for event in events if event.type == "batch_quantity_changed.v1"]
    for ref, times in Counter(event.data["ref"] for event in [*created, *published]).items():
        expected.demand(entry, f"the quantity of {ref} was changed", times, int(ref in counted))
    for event in published:
        expected.batches[event.data["ref"]] = (event.data["qty"], event.data["eta"])
    purchased = sum(expected.batches[ref][0] for ref in counted)
    shipped = history.shipped_qtys(entry, counted)
    if purchased - wanted not in shipped:
        expected.fault(entry, f"{purchased} pieces were purchased after it, and of them {sorted(shipped)} shipped")
    expected.demand_answer(entry, [OK])
    if entry.via == "http" and entry.final is not None and entry.final.status == OK:
        body = entry.final.body
        if body["on_hand_qty"] != wanted:
            expected.fault(entry, f"the answer says {body}")
        _compare_moves(expected, entry, body, events)


def set_reorder_point(expected: Expected, entry: Entry, events: Sequence[Event], _: History) -> None:
    """The product has the reorder point; 0 switches it off. Whether stock is low at it is left to the outside judge."""
    point = entry.data["qty"] or None
    expected.reorder_points[entry.data["sku"]] = point
    said = [event.data["reorder_point"] for event in events if event.type == "low_stock.v1"]
    if said not in ([], [point]) or len(said) != len(events):
        expected.fault(entry, f"its events say {[event.data for event in events]}")
    expected.demand_answer(entry, [OK])
    if entry.final is not None and entry.final.status == OK and entry.final.body["reorder_point"] != point:
        expected.fault(entry, f"the answer says {entry.final.body}")


def _terms(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"sku": data["sku"], **{name: data.get(name, usual) for name, usual in USUAL_TERMS.items()}}


def _place(expected: Expected, ref: str) -> tuple[str, str | None]:
    return expected.terms[ref]["location"], expected.batches[ref][1]


def _wanted_qty(qty: int, entry: Entry, history: History) -> int:
    """The quantity that the command sets. A count sets the pieces on hand, beside those that were shipped."""
    data = entry.data
    if "on_hand_qty" not in data:
        return int(data.get("qty", qty))
    shipped = {data["shipped_qty"]} if "shipped_qty" in data else history.shipped_qtys(entry, [data["ref"]])
    possible = {int(data["on_hand_qty"]) + each for each in shipped}
    return qty if qty in possible else max(possible)
