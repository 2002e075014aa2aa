"""What the clients believe, and what the events tell of each line and batch: what commands are judged by."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from faults.journal import Entry
from faults.story import Event

CREATED, OK, ACCEPTED_LATER, GONE, BAD, MISSING, CONFLICT = 201, 200, 202, 204, 400, 404, 409
ACCEPTED = ("line_allocated.v1", "line_backordered.v1")
MOVED = (*ACCEPTED, "line_deallocated.v1", "line_shipped.v1")
"""What tells where a line is; other events that name it change nothing."""

BatchValues = tuple[int, str | None]
Line = tuple[str, str]
"""Order and SKU."""


class History:
    """What the events tell of each line and of each batch, whoever caused it."""

    def __init__(self, entries: Iterable[Entry], events: Iterable[Event]) -> None:
        """Sort it by what it is about."""
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
        """Whether the line can have stood in its queue when the command came.

        That was after the commands that its client had sent about the order before, and before those that it sent
        afterwards; what others did to the line between the two may have been before the command or after it.
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
        """How many pieces of the batch can have left when the command came: before what its client sent afterwards."""
        _, later = self._around(entry)
        before = takewhile(lambda event: event.cause not in later, self._batches[entry.data["ref"]])
        return sum(event.data["qty"] for event in before if event.type == "line_shipped.v1")

    def _around(self, entry: Entry) -> tuple[set[str], set[str]]:
        """What its client has sent about the same before, and after."""
        commands = self._commands[entry.subject]
        place = commands.index(entry.id)
        return set(commands[:place]), set(commands[place + 1 :])


@dataclass
class Expected:
    """What the clients believe at the end: of each line its quantity, None where it is gone; of each batch its values.

    `orders` are the lines of each order as it was placed last. `unclear` are the orders and batches of which a client
    was never told what became of them. `reruns` are answers that the service's documents explain: a group whose commit
    was not answered was run again.
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
        """The lines that are left of what was placed as an order, by SKU."""
        lines = [(order_id, sku) for sku in sorted(self.orders.get(order_id, ()))]
        return [line for line in lines if self.lines.get(line) is not None]

    def forget(self, entry: Entry) -> None:
        """Believe nothing any more of what the command was about."""
        self.unclear.add(entry.subject)
        self.batches.pop(entry.data.get("ref", ""), None)
        order_id = entry.data.get("order_id", "")
        self.orders.pop(order_id, None)
        for line in [line for line in self.lines if line[0] == order_id]:
            del self.lines[line]
            self.shipped.discard(line)

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

    def demand_refusal(self, entry: Entry, refused: Sequence[str], reason: str) -> None:
        """Complain unless it was told as refused for this reason, once for each time that it was answered so.

        An attempt without an answer may have told it, too.
        """
        if not 1 <= refused.count(reason) <= len(entry.answers) or len(set(refused)) > 1:
            self.fault(entry, f"it should be refused for {reason}, and was told as {refused}")
        if entry.via == "kafka":
            self.demand(entry, "a message was refused", len(refused), 1)


def reasons(events: Iterable[Event], kind: str) -> list[str]:
    """Why something was refused, each time."""
    return [event.data["reason"] for event in events if event.type == kind]


def is_refused(entry: Entry, accepted: Sequence[Event]) -> bool:
    """Whether what was asked for found no stock and was not to wait. Over Kafka only the events tell."""
    if entry.data.get("if_unavailable") != "reject":
        return False
    if entry.via == "kafka":
        return not accepted
    return entry.final is not None and entry.final.status == CONFLICT


def placement(values: Mapping[str, object]) -> tuple[object, object]:
    """Where a line is and how much of it, as an event or an answer tells."""
    return values.get("batch_ref"), values["qty"]
