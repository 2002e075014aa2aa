"""The state that clients expect, and the events of each line and batch, with which commands are compared."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from faults.journal import Entry
from faults.story import Event

CREATED, OK, ACCEPTED_LATER, GONE, BAD, MISSING, CONFLICT = 201, 200, 202, 204, 400, 404, 409
ACCEPTED = ("line_allocated.v1", "line_backordered.v1")
MOVED = (*ACCEPTED, "line_deallocated.v1", "line_shipped.v1")
"""Events that place a line; other events that name it change nothing."""

BatchValues = tuple[int, str | None]
Line = tuple[str, str]
"""Order and SKU."""


class History:
    """The events of each line and each batch, whichever client caused them."""

    def __init__(self, entries: Iterable[Entry], events: Iterable[Event]) -> None:
        """Index the event by its line or batch."""
        self._commands: dict[str, list[str]] = defaultdict(list)
        for entry in entries:
            self._commands[entry.subject].append(entry.id)
        self._lines: dict[Line, list[Event]] = defaultdict(list)
        self._batches: dict[str, list[Event]] = defaultdict(list)
        for event in sorted(events, key=lambda event: event.sequence or 0):
            if event.type in MOVED:
                self._lines[event.data["order_id"], event.subject].append(event)
            if event.type in {"line_shipped.v1", "batch_quantity_changed.v1", "batch_eta_changed.v1"}:
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
            waits = event.type == "line_backordered.v1"
            waited = waits if event.cause in earlier else waited or waits
        return waited

    def shipped_qty(self, entry: Entry) -> int:
        """The largest shipped quantity of the batch when the command ran, that is before its client's next command."""
        _, later = self._around(entry)
        before = takewhile(lambda event: event.cause not in later, self._batches[entry.data["ref"]])
        return sum(event.data["qty"] for event in before if event.type == "line_shipped.v1")

    def _around(self, entry: Entry) -> tuple[set[str], set[str]]:
        """Its client's commands on the same order or batch before, and after."""
        commands = self._commands[entry.subject]
        place = commands.index(entry.id)
        return set(commands[:place]), set(commands[place + 1 :])


@dataclass
class Expected:
    """The state that clients expect at the end: each line's quantity, None if it was removed; each batch's values.

    `orders` are the lines of each order as placed last. `unclear` are orders and batches with an unknown outcome.
    `reruns` are responses that the documentation explains: a group whose commit was not answered was run again.
    """

    lines: dict[Line, int | None] = field(default_factory=dict)
    shipped: set[Line] = field(default_factory=set)
    orders: dict[str, dict[str, int]] = field(default_factory=dict)
    batches: dict[str, BatchValues] = field(default_factory=dict)
    skus: set[str] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)
    reruns: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def lines_of(self, order_id: str) -> list[Line]:
        """The remaining lines of a placed order, by SKU."""
        lines = [(order_id, sku) for sku in sorted(self.orders.get(order_id, ()))]
        return [line for line in lines if self.lines.get(line) is not None]

    def forget(self, entry: Entry) -> None:
        """Mark the command's order or batch as unclear."""
        self.unclear.add(entry.subject)
        self.batches.pop(entry.data.get("ref", ""), None)
        order_id = entry.data.get("order_id", "")
        self.orders.pop(order_id, None)
        for line in [line for line in self.lines if line[0] == order_id]:
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
    """Whether the request found no stock and was not to be backordered. Over Kafka only the events show it."""
    if entry.data.get("if_unavailable") != "reject":
        return False
    if entry.via == "kafka":
        return not accepted
    return entry.final is not None and entry.final.status == CONFLICT


def placement(values: Mapping[str, object]) -> tuple[object, object]:
    """The place and quantity of a line, from an event or a response."""
    return values.get("batch_ref"), values["qty"]
