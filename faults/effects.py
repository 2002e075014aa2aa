"""Each command and its effects: what one client asked for, one after another, is followed through the events.

Each order line and each batch belongs to one client that waits for an answer before it goes on, so what every command
must have done is known, whatever the others did meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from faults.journal import Entry
from faults.story import Event

ACCEPTED = ("line_allocated.v1", "line_backordered.v1")
CREATED, OK, ACCEPTED_LATER, GONE, BAD, MISSING, CONFLICT = 201, 200, 202, 204, 400, 404, 409

BatchValues = tuple[int, str | None]


@dataclass
class Expected:
    """What the clients believe at the end: of each line its quantity, None where it is gone; of each batch its values.

    `unclear` are lines and batches of which a client was never told what became of them. `reruns` are answers that the
    service's documents explain: a group whose commit was not answered was run again.
    """

    lines: dict[tuple[str, str], int | None] = field(default_factory=dict)
    batches: dict[str, BatchValues] = field(default_factory=dict)
    skus: set[str] = field(default_factory=set)
    unclear: set[tuple[str, str] | str] = field(default_factory=set)
    reruns: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def fault(self, entry: Entry, what: str) -> None:
        """Complain of a command."""
        answers = [answer.status for answer in entry.answers]
        self.faults.append(f"effects: {entry} answered {answers}: {what}")

    def demand(self, entry: Entry, what: str, found: int, wanted: int) -> None:
        """Complain where the command did something another number of times than it should have."""
        if found != wanted:
            self.fault(entry, f"{what} {found} times, not {wanted}")

    def demand_answer(self, entry: Entry, first: Sequence[int], again: Sequence[int] = ()) -> None:
        """Complain of an answer that does not fit; `again` may come where an attempt before had no answer."""
        final = entry.final
        if entry.via == "kafka" or final is None or final.status in first:
            return
        if final.status not in again:
            self.fault(entry, f"the answer should be one of {[*first, *again]}: {final.body}")
        elif not entry.had_unknown:
            self.reruns.append(f"{entry} answered {final.status} at its first attempt")


def check_effects(entries: Sequence[Entry], caused: Mapping[str, Sequence[Event]]) -> Expected:
    """Follow every command; what is wrong stands in `faults`."""
    expected = Expected(skus={entry.data["sku"] for entry in entries if entry.kind == "create_batch"})
    for entry in entries:
        events = caused.get(entry.id, ())
        subject = entry.line if entry.kind in {"allocate", "cancel"} else entry.data["ref"]
        if subject in expected.unclear:
            continue
        if entry.final is None:
            # The oracle complains of that elsewhere; what follows from it nobody can say.
            expected.unclear.add(subject)
            if isinstance(subject, str):
                expected.batches.pop(subject, None)
            else:
                expected.lines.pop(subject, None)
            continue
        match entry.kind:
            case "allocate":
                _allocate(expected, entry, _about(events, entry.data["order_id"]))
            case "cancel":
                _cancel(expected, entry, _about(events, entry.data["order_id"]))
            case "create_batch":
                _create_batch(expected, entry, events)
            case "change_batch":
                _change_batch(expected, entry, events)
    return expected


def _about(events: Sequence[Event], order_id: str) -> list[Event]:
    """Those of the line itself: a command may move others, too."""
    return [event for event in events if event.data.get("order_id") == order_id]


def _allocate(expected: Expected, entry: Entry, events: Sequence[Event]) -> None:
    qty, known = entry.data["qty"], expected.lines.get(entry.line)
    accepted = [event for event in events if event.type in ACCEPTED]
    failed = [event.data["reason"] for event in events if event.type == "allocation_failed.v1"]
    if known == qty:
        expected.demand(entry, "the line was known, and was accepted again", len(accepted), 0)
        expected.demand(entry, "the line was known, and was refused", len(failed), 0)
        expected.demand_answer(entry, [OK])
    elif known is not None:
        expected.demand(entry, "the line was known with another quantity, and was accepted", len(accepted), 0)
        _demand_refusal(expected, entry, failed, "conflict")
        expected.demand_answer(entry, [CONFLICT])
    elif entry.data["sku"] not in expected.skus:
        expected.demand(entry, "a line of an unknown SKU was accepted", len(accepted), 0)
        _demand_refusal(expected, entry, failed, "invalid_sku")
        expected.demand_answer(entry, [BAD])
    elif _is_refused(entry, accepted):
        expected.demand(entry, "the line was refused, and accepted", len(accepted), 0)
        _demand_refusal(expected, entry, failed, "out_of_stock")
        expected.lines[entry.line] = None
    else:
        expected.lines[entry.line] = qty
        expected.demand(entry, "the line was accepted", len(accepted), 1)
        expected.demand_answer(entry, [CREATED, ACCEPTED_LATER], [OK])
        if not entry.had_unknown:
            expected.demand(entry, "the line was accepted, and refused", len(failed), 0)
        _compare_placement(expected, entry, accepted)


def _is_refused(entry: Entry, accepted: Sequence[Event]) -> bool:
    """Whether the line found no stock and was not to wait. Over Kafka only the events tell."""
    if entry.data.get("if_unavailable") != "reject":
        return False
    if entry.via == "kafka":
        return not accepted
    return entry.final is not None and entry.final.status == CONFLICT


def _demand_refusal(expected: Expected, entry: Entry, failed: Sequence[str], reason: str) -> None:
    """A refusal is told once for each time that it was answered; an attempt without an answer may have told it, too."""
    if not 1 <= failed.count(reason) <= len(entry.answers) or len(set(failed)) > 1:
        expected.fault(entry, f"it should be refused for {reason}, and was told as {failed}")
    if entry.via == "kafka":
        expected.demand(entry, "a message was refused", len(failed), 1)


def _compare_placement(expected: Expected, entry: Entry, accepted: Sequence[Event]) -> None:
    """What the caller was told of a line that was new is what the event tells."""
    final = entry.final
    if entry.via == "kafka" or final is None or final.status not in {CREATED, ACCEPTED_LATER} or len(accepted) != 1:
        return
    told = (accepted[0].data.get("batch_ref"), accepted[0].data["qty"])
    answered = (final.body["batch_ref"], final.body["qty"])
    if told != answered or (final.status == CREATED) != (accepted[0].type == ACCEPTED[0]):
        expected.fault(entry, f"the answer says {final.body}, the event {accepted[0].type} {accepted[0].data}")


def _cancel(expected: Expected, entry: Entry, events: Sequence[Event]) -> None:
    cancelled = [event for event in events if event.type == "line_deallocated.v1"]
    if expected.lines.get(entry.line) is None:
        expected.demand(entry, "the line was gone, and was cancelled", len(cancelled), 0)
        expected.demand_answer(entry, [MISSING])
        return
    expected.lines[entry.line] = None
    expected.demand(entry, "the line was cancelled", len(cancelled), 1)
    expected.demand_answer(entry, [GONE], [MISSING])


def _create_batch(expected: Expected, entry: Entry, events: Sequence[Event]) -> None:
    ref = entry.data["ref"]
    created = [event for event in events if event.type == "batch_created.v1"]
    if ref in expected.batches:
        expected.demand(entry, "the batch was known, and was recorded", len(created), 0)
        expected.demand_answer(entry, [OK])
        return
    expected.batches[ref] = (entry.data["qty"], entry.data["eta"])
    expected.demand(entry, "the batch was recorded", len(created), 1)
    expected.demand_answer(entry, [CREATED], [OK])


def _change_batch(expected: Expected, entry: Entry, events: Sequence[Event]) -> None:
    ref = entry.data["ref"]
    if ref not in expected.batches:
        expected.fault(entry, "its client had not recorded the batch")
        return
    qty, eta = expected.batches[ref]
    after = (entry.data.get("qty", qty), entry.data.get("eta", eta))
    expected.batches[ref] = after
    # The ETA changes first, so its event bears the quantity from before.
    for kind, before, now in (("eta", (qty, eta), (qty, after[1])), ("quantity", (qty, after[1]), after)):
        told = [event for event in events if event.type == f"batch_{kind}_changed.v1"]
        expected.demand(entry, f"the {kind} was changed", len(told), int(now != before))
        if any((event.data["qty"], event.data["eta"]) != now for event in told):
            expected.fault(entry, f"it should be {now} then, and the event says {told[0].data}")
    expected.demand_answer(entry, [OK])
    if entry.via == "http" and entry.final is not None and entry.final.status == OK:
        _compare_moves(expected, entry, entry.final.body, events)


def _compare_moves(expected: Expected, entry: Entry, body: Any, events: Sequence[Event]) -> None:  # noqa: ANN401 - JSON
    """What the caller was told to have moved is what the events tell; asked again, nothing moves any more."""
    told = {event.data["order_id"] for event in events if event.type == "line_deallocated.v1"}
    moved = {move["order_id"] for move in body["moved"]}
    if moved != told and not (entry.had_unknown and not moved):
        if not moved:
            expected.reruns.append(f"{entry} answered that nothing moved, at its first attempt")
            return
        expected.fault(entry, f"the answer says {sorted(moved)} moved, the events {sorted(told)}")
