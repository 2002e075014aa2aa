"""The state that clients expect, and the events of each line and batch, with which commands are compared."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Literal

from faults.journal import Entry
from faults.story import Event

CREATED, OK, ACCEPTED_LATER, GONE, BAD, MISSING, CONFLICT = 201, 200, 202, 204, 400, 404, 409
ACCEPTED = ("line_allocated.v1", "line_backordered.v1")
HELD, RELEASED = "line_held.v1", "hold_released.v1"
MOVED = (*ACCEPTED, "line_deallocated.v1", "line_shipped.v1", HELD, RELEASED)
"""Events that place a line; other events that name it change nothing."""

REFUSED = "allocation_failed.v1"
OF_BATCHES = ("batch_created.v1", "batch_quantity_changed.v1", "batch_eta_changed.v1", "line_shipped.v1")

BatchValues = tuple[int, str | None]
Line = tuple[str, str]
"""Order and SKU."""


class History:
    """The events of each line and each batch, whichever client caused them."""

    def __init__(self, entries: Iterable[Entry], events: Iterable[Event]) -> None:
        """Index the event by its line or batch."""
        self.entries = {entry.id: entry for entry in entries}
        self._commands: dict[str, list[str]] = defaultdict(list)
        for entry in self.entries.values():
            self._commands[entry.subject].append(entry.id)
        self._lines: dict[Line, list[Event]] = defaultdict(list)
        self._batches: dict[str, list[Event]] = defaultdict(list)
        for event in sorted(events, key=lambda event: event.sequence or 0):
            if event.type in MOVED or (event.type == REFUSED and event.sequence is not None):
                self._lines[event.data["order_id"], event.subject].append(event)
            if event.type in OF_BATCHES:
                self._batches[event.data.get("batch_ref") or event.data["ref"]].append(event)

    def may_have_waited(self, entry: Entry) -> bool:
        """Whether the line can have been in its queue when the command ran.

        The command ran after its client's earlier commands on the order, and before its later ones; events of other
        clients in between may have come before or after it.
        """
        earlier, later = self._around(entry)
        waited = False
        for event in self._lines[entry.line]:
            if event.cause in later:
                break
            if event.type == REFUSED:
                continue
            waits = event.type == "line_backordered.v1"
            waited = waits if event.cause in earlier else waited or waits
        return waited

    def hold_end(self, entry: Entry, line: Line) -> Literal["no", "yes", "maybe"]:
        """Whether the hold of the line ended before the command ran, by no command of its client.

        An event of the command itself shows its place among the events of the line. Without one it ran at any time
        between the events of its client's earlier and later commands.
        """
        earlier, later = self._around(entry)
        ended = False
        for event in self._lines[line]:
            if event.cause == entry.id:
                return "yes" if ended else "no"
            if event.cause in later:
                break
            if event.cause in earlier or event.type in {HELD, RELEASED}:
                ended = event.cause not in earlier and event.type == RELEASED
        return "maybe" if ended else "no"

    def has_ended(self, line: Line) -> bool:
        """Whether the last event of the line is the end of its hold."""
        moves = [event for event in self._lines[line] if event.type != REFUSED]
        return bool(moves) and moves[-1].type == RELEASED

    def shipped_qtys(self, entry: Entry, refs: Iterable[str]) -> set[int]:
        """The possible numbers of pieces that these batches had shipped when the command ran.

        It ran after its client's earlier commands on the same, and before its later ones. An event of the command
        itself shows its place among the events of a SKU.
        """
        earlier, later = self._around(entry)
        events = sorted((event for ref in refs for event in self._batches[ref]), key=lambda each: each.sequence or 0)
        shipped, possible = 0, {0}
        for event in takewhile(lambda event: event.cause not in later, events):
            if event.cause == entry.id:
                return {shipped}
            shipped += event.data["qty"] if event.type == "line_shipped.v1" else 0
            possible = {shipped} if event.cause in earlier else {*possible, shipped}
        return possible

    def _around(self, entry: Entry) -> tuple[set[str], set[str]]:
        """Its client's commands on the same order or batch before, and after."""
        commands = self._commands[entry.subject]
        place = commands.index(entry.id)
        return set(commands[:place]), set(commands[place + 1 :])


@dataclass
class Expected:
    """The state that clients expect at the end: each line's quantity, None if it was removed; each batch's values.

    `held` are the lines with a hold. `orders` are the lines of each order as placed last, and `members` those that
    still exist; `held_orders` have not been confirmed as a whole. `unclear` are orders and batches with an unknown
    outcome. `reruns` are responses that the documentation explains: a group whose commit was not answered was run
    again.
    """

    lines: dict[Line, int | None] = field(default_factory=dict)
    shipped: set[Line] = field(default_factory=set)
    held: set[Line] = field(default_factory=set)
    orders: dict[str, dict[str, int]] = field(default_factory=dict)
    members: set[Line] = field(default_factory=set)
    held_orders: set[str] = field(default_factory=set)
    batches: dict[str, BatchValues] = field(default_factory=dict)
    terms: dict[str, dict[str, Any]] = field(default_factory=dict)
    carts: dict[str, Any] = field(default_factory=dict)
    reorder_points: dict[str, int | None] = field(default_factory=dict)
    skus: set[str] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)
    reruns: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    # The SKUs of each order. Searching all lines each time would be slow.
    _skus_of: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def name_lines(self, entry: Entry) -> None:
        """Note the SKUs that the command names of its order."""
        if "order_id" in entry.data:
            self._skus_of[entry.data["order_id"]] |= entry.skus

    def lines_of(self, order_id: str) -> list[Line]:
        """The remaining lines of an order, by SKU."""
        lines = [(order_id, sku) for sku in sorted(self._skus_of[order_id])]
        return [line for line in lines if self.lines.get(line) is not None]

    def placed(self, order_id: str) -> dict[str, int]:
        """What was placed under the id, while a line of it exists; otherwise the lines of now."""
        lines = self.lines_of(order_id)
        if any(line in self.members for line in lines):
            return self.orders[order_id]
        return {sku: self.lines[order_id, sku] or 0 for _, sku in lines}

    def is_held(self, order_id: str) -> bool:
        """Whether a line of the order is held, or it was held and not confirmed as a whole."""
        lines = self.lines_of(order_id)
        return any(line in self.held for line in lines) or (
            order_id in self.held_orders and any(line in self.members for line in lines)
        )

    def place(self, order_id: str, lines: Mapping[str, int], *, is_held: bool) -> None:
        """Note what was placed under the id."""
        self.orders[order_id] = dict(lines)
        self.members |= {(order_id, sku) for sku in lines}
        (self.held_orders.add if is_held else self.held_orders.discard)(order_id)

    def accept(self, line: Line, qty: int, *, is_held: bool) -> None:
        """Note a line that was accepted or confirmed."""
        self.lines[line] = qty
        (self.held.add if is_held else self.held.discard)(line)

    def remove(self, *lines: Line) -> None:
        """Note lines that are gone: cancelled, or their holds have ended."""
        for line in lines:
            self.lines[line] = None
            self.held.discard(line)
            self.members.discard(line)

    def end_holds(self, entry: Entry, history: History) -> list[Line]:
        """Remove the lines of the order whose holds had ended when the command ran; returns those that may have."""
        unsure: list[Line] = []
        for line in self.lines_of(entry.data["order_id"]):
            end = history.hold_end(entry, line) if line in self.held else "no"
            if end == "yes":
                self.remove(line)
            elif end == "maybe":
                unsure.append(line)
        return unsure

    def end_last_holds(self, history: History) -> None:
        """Remove the lines whose holds ended after the last command of their client."""
        self.remove(*[line for line in self.held if history.has_ended(line)])

    def forget(self, entry: Entry) -> None:
        """Mark the command's order or batch as unclear."""
        self.unclear.add(entry.subject)
        self.batches.pop(entry.data.get("ref", ""), None)
        if self.carts.pop(entry.data.get("cart_id", ""), None) is not None:
            self.unclear.add(f"cart {entry.data['cart_id']}")
        self.reorder_points.pop(entry.data.get("sku", ""), None)
        if entry.kind == "count_product":
            counted = [ref for ref in self.batches if self.terms[ref]["sku"] == entry.data["sku"]]
            self.unclear |= {f"batch {ref}" for ref in counted}
            self.batches = {ref: values for ref, values in self.batches.items() if ref not in counted}
        order_id = entry.data.get("order_id", "")
        self.orders.pop(order_id, None)
        for line in [line for line in self.lines if line[0] == order_id]:
            self.remove(line)
            del self.lines[line]
            self.shipped.discard(line)

    def fault(self, entry: Entry, what: str) -> None:
        """Record a violation by a command."""
        answers = [answer.status for answer in entry.answers]
        self.faults.append(f"effects: {entry} answered {answers}: {what}")

    def demand(self, entry: Entry, what: str, found: int, wanted: int) -> None:
        """Record a violation if the command had an effect more or less often than expected."""
        if found != wanted:
            self.fault(entry, f"{what} {found} times, not {wanted}")

    def demand_answer(self, entry: Entry, first: Sequence[int], again: Sequence[int] = ()) -> None:
        """Record a violation if the response is unexpected; `again` is valid after an attempt without a response."""
        final = entry.final
        # With a key, the response to the attempt with the effect is repeated.
        again = () if entry.idempotency_key else again
        if entry.via == "kafka" or final is None or final.status in first:
            return
        if final.status not in again:
            self.fault(entry, f"the answer should be one of {[*first, *again]}: {final.body}")
        elif not entry.had_unknown:
            self.reruns.append(f"{entry} answered {final.status} at its first attempt")

    def demand_refusal(self, entry: Entry, refused: Sequence[str], reason: str) -> None:
        """Record a violation unless each refusal in a response has an event with this reason.

        An attempt without a response may have raised one, too.
        """
        if not 1 <= refused.count(reason) <= len(entry.answers) or len(set(refused)) > 1:
            self.fault(entry, f"it should be refused for {reason}, and the events say {refused}")
        if entry.via == "kafka":
            self.demand(entry, "a message was refused", len(refused), 1)


def reasons(events: Iterable[Event], kind: str) -> list[str]:
    """The reasons of all refusals."""
    return [event.data["reason"] for event in events if event.type == kind]


def is_refused(entry: Entry, accepted: Sequence[Event]) -> bool:
    """Whether the request found no stock and was not to be backordered, like each hold.

    Over Kafka only the events show it.
    """
    if entry.data.get("if_unavailable") != "reject" and "hold_for" not in entry.data:
        return False
    if entry.via == "kafka":
        return not accepted
    return entry.final is not None and entry.final.status == CONFLICT


def placement(values: Mapping[str, object]) -> tuple[object, object]:
    """The place and quantity of a line, from an event or a response."""
    return values.get("batch_ref"), values["qty"]
