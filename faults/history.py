"""The history of each SKU for the outside judge: what each command, read and end of a hold did to it, and when.

An operation took effect between two moments: the first request was sent, and the last response came. What it did is
known from the events that it caused, and these were read from the topic later than it took effect, so their arrival
ends the interval, too. Commands without a response (messages, and requests that were never answered) have only this
end, or none. `Operation` in `faults/linearizability` describes the fields.

The sequences of the events are passed on as a proposal for the order, which the judge does not believe.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from faults.expected import ACCEPTED, HELD, REFUSED, RELEASED
from faults.journal import Entry, Read
from faults.story import Event, Story, first_occurrences
from faults.topics import order_of_place
from faults.wording import Fields, answer_of, batch_args, effect_of, line_of, nanoseconds, product_of

OK, MISSING = 200, 404
FIRST = {
    "create_batch": {201},
    "change_batch": {200},
    "count_product": {200},
    "set_reorder_point": {200},
    "allocate": {201, 202},
    "cancel": {204},
    "ship": {200},
}
"""The responses of the attempt that has the effect. Others come from a later attempt, which finds it done."""

RERUN_SECONDS = 2.0
"""After this time the service may have run a command again, because a commit was not reported."""

EXPIRY = "expiry-"
WISHES = ("from", "good_until", "priority")


@dataclass
class Seen:
    """The events that one cause had for one SKU."""

    events: list[Event] = field(default_factory=list)
    arrivals: dict[str, float] = field(default_factory=dict)
    """When they were read first, by their ids."""

    @property
    def arrival(self) -> float | None:
        """When the first of the effects was read; without effects, the first refusal of any attempt."""
        known = [event for event in self.events if effect_of(event)] or self.events
        return min((self.arrivals[event.id] for event in known if event.id in self.arrivals), default=None)

    @property
    def effects(self) -> list[str]:
        """What they say, in the words of the model."""
        return [text for text in map(effect_of, self.events) if text]

    @property
    def rank(self) -> int | None:
        """The smallest sequence of what changed something."""
        ranks = [event.sequence for event in self.events if event.sequence is not None and effect_of(event)]
        return min(ranks, default=None)

    @property
    def new_batch(self) -> Fields:
        """The ref of the batch that was recorded; a count chooses it."""
        return next(({"ref": each.data["ref"]} for each in self.events if each.type == "batch_created.v1"), {"ref": ""})

    def of(self, order_id: str, *types: str) -> list[Event]:
        """Those of these types about the line of the order."""
        return [each for each in self.events if each.type in types and each.data.get("order_id") == order_id]


def operations(story: Story, reads: Sequence[Read], arrivals: Mapping[str, float]) -> list[Fields]:
    """All operations of the round. `arrivals` are the times at which events were read first, by their ids."""
    caused: dict[str, dict[str, Seen]] = defaultdict(lambda: defaultdict(Seen))
    for event in first_occurrences(story.events):
        if event.subject == event.data.get("sku"):
            seen = caused[event.cause][event.subject]
            seen.events.append(event)
            seen.arrivals |= {event.id: arrivals[event.id]} if event.id in arrivals else {}
    found: list[Fields] = []
    for entry in story.entries:
        # A repeated key has the response of the first request, and a dead letter no effect. The oracle checks both.
        if not entry.repeats and (entry.id not in story.dead or entry.id in caused):
            found += _Command(entry, caused.get(entry.id, {})).operations()
    # A message that was retried took effect after later records of its partition.
    in_order = {place: ce_id for place, ce_id in story.inbound_places.items() if ce_id not in story.restored}
    _bound_messages(found, in_order)
    found += _ends_of_holds(caused)
    orders: dict[str, set[str]] = defaultdict(set)
    for entry in story.entries:
        orders[entry.data.get("order_id", "")] |= entry.skus
    for read in reads:
        found += _read(read, orders)
    return found


def _bound_messages(found: Sequence[Fields], places: Mapping[str, str]) -> None:
    """A message took effect before the effect of a later record of its partition on the same SKU was seen.

    Of a message that is in several partitions it is unknown which record took effect, so it does not end others.
    """
    positions: dict[str, dict[str, int]] = defaultdict(dict)
    for place, ce_id in places.items():
        partition, offset = order_of_place(place)
        positions[ce_id][partition] = min(offset, positions[ce_id].get(partition, offset))
    queues: dict[tuple[str, str], list[tuple[int, Fields]]] = defaultdict(list)
    for operation in found:
        for partition, offset in positions.get(operation["id"], {}).items():
            queues[operation["sku"], partition].append((offset, operation))
    for queue in queues.values():
        end = None
        for _, operation in sorted(queue, key=lambda each: each[0], reverse=True):
            operation["return"] = _earliest(end, operation["return"])
            end = operation["return"] if len(positions[operation["id"]]) == 1 else end


def _earliest(*times: float | None) -> float | None:
    """The first of the times that are known; None if none is."""
    return min((time for time in times if time is not None), default=None)


class _Command:
    """The operations of one command, one for each of its SKUs; two where a later attempt was answered."""

    def __init__(self, entry: Entry, caused: Mapping[str, Seen]) -> None:
        self._entry = entry
        self._caused = caused
        self._order = entry.data.get("order_id", "")
        # The acknowledgement of a record does not answer the command.
        self._final = entry.final if entry.via == "http" else None
        self._body = self._final.body if self._final and isinstance(self._final.body, dict) else {}

    def operations(self) -> Iterator[Fields]:
        match self._entry.kind:
            case "set_item":
                # A cart has no stock.
                return
            case "place_order" | "check_out":
                yield from self._place_order()
            case "hold_order":
                yield from self._hold_order()
            case "cancel_order":
                yield from self._cancel_order()
            case kind:
                yield from self._of_one_sku(kind)

    def _of_one_sku(self, kind: str) -> Iterator[Fields]:
        entry, final, sku = self._entry, self._final, self._entry.data["sku"]
        seen = self._caused.get(sku, Seen())
        args = self._line_args(sku, entry.data) if self._order else batch_args({**seen.new_batch, **entry.data})
        answer = None if final is None else answer_of(final)
        if final is None or not seen.effects:
            yield self._make(sku, kind, args, seen, answer=answer, last=not seen.effects)
        elif final.status in FIRST[kind] and not self._may_have_run_again():
            yield self._make(sku, kind, args, seen, answer=answer)
        else:
            yield self._make(sku, kind, args, seen, is_open=True)
            yield self._make(sku, kind, args, Seen(), answer=answer, last=True)

    def _may_have_run_again(self) -> bool:
        """Whether the response may come from another attempt than the effect, although it looks like the first."""
        if self._entry.idempotency_key or self._entry.kind not in {"change_batch", "ship"}:
            return False
        return self._entry.had_unknown or self._entry.answers[-1].seconds > RERUN_SECONDS

    def _place_order(self) -> Iterator[Fields]:
        data, final = self._entry.data, self._final
        is_new = final is not None and final.status == 201
        is_accepted = is_new or any(seen.of(self._order, *ACCEPTED, HELD) for seen in self._caused.values())
        answered = {line["sku"]: {"line": line_of(line)} for line in self._body.get("lines", ())}
        for line in data["lines"]:
            sku = line["sku"]
            seen = self._caused.get(sku, Seen())
            args = self._line_args(sku, {**data, **line})
            if is_accepted:
                is_open = final is not None and not is_new
                answer = answered.get(sku) if is_new else None
                yield self._make(sku, "place", args, seen, answer=answer, is_open=is_open)
            elif self._lacks_stock(seen):
                yield self._make(sku, "no_room", args, seen)
            if final is not None and final.status == OK and sku in answered:
                args = {"order": self._order}
                yield self._make(sku, "read_line", args, Seen(), answer=answered[sku], last=True)

    def _hold_order(self) -> Iterator[Fields]:
        data = self._entry.data
        answered = {line["sku"]: {"line": line_of(line)} for line in self._body.get("lines", ())}
        wanted = {line["sku"]: line["qty"] for line in data.get("lines", ())}
        for sku, seen in self._caused.items():
            held = seen.of(self._order, HELD)
            if held:
                args = self._line_args(sku, {**data, "qty": held[0].data["qty"]})
                yield self._make(sku, "hold", args, seen, answer=answered.get(sku))
            elif seen.of(self._order, RELEASED):
                yield self._make(sku, "replace", {"order": self._order}, seen)
            elif self._lacks_stock(seen):
                yield self._make(sku, "no_room", self._line_args(sku, {**data, "qty": wanted[sku]}), seen)

    def _cancel_order(self) -> Iterator[Fields]:
        args = {"order": self._order}
        for sku in sorted({*self._caused, *self._entry.skus}):
            seen = self._caused.get(sku, Seen())
            if seen.effects:
                is_open = self._final is not None and self._final.status == MISSING
                yield self._make(sku, "cancel", args, seen, is_open=is_open)
            else:
                yield self._make(sku, "absent", args, seen, last=True)

    def _lacks_stock(self, seen: Seen) -> bool:
        return any(event.data["reason"] == "out_of_stock" for event in seen.of(self._order, REFUSED))

    def _line_args(self, sku: str, data: Mapping[str, Any]) -> Fields:
        args = {"order": self._order, "qty": data.get("qty"), "reject": data.get("if_unavailable") == "reject"}
        args |= {name: data[name] for name in WISHES if name in data}
        if "hold_for" in data:
            held = [event.data for event in self._caused.get(sku, Seen()).of(self._order, HELD)]
            bodies = [line for line in self._body.get("lines", [self._body]) if line.get("sku") == sku]
            ends = [each["held_until"] for each in [*held, *bodies] if each.get("held_until")]
            args |= {"hold_for": data["hold_for"], "until": nanoseconds(ends[0]) if ends else 0}
        return args

    def _make(
        self,
        sku: str,
        kind: str,
        args: Fields,
        seen: Seen,
        *,
        answer: Fields | None = None,
        last: bool = False,
        is_open: bool = False,
    ) -> Fields:
        """`last`: only the last attempt. `is_open`: the response does not say when it took effect.

        With a key any attempt may have been the one that was answered.
        """
        answers, final = self._entry.answers, self._final
        first = -1 if last and final is not None and not self._entry.idempotency_key else 0
        sent = answers[first].sent if answers else 0.0
        end = final.at if final is not None and not is_open else None
        if last and final is not None:
            # The events may be those of an earlier attempt.
            seen = Seen()
        return _operation(sku, kind, self._entry.id, args, seen, sent, end, answer)


def _operation(
    sku: str,
    kind: str,
    name: str,
    args: Fields,
    seen: Seen,
    call: float,
    end: float | None,
    answer: Fields | None = None,
) -> Fields:
    end = _earliest(end, seen.arrival)
    return {
        "id": name,
        "sku": sku,
        "kind": kind,
        "args": args,
        "answer": answer,
        "effects": seen.effects,
        "call": int(call * 1e9),
        "return": None if end is None else int(end * 1e9),
        "rank": seen.rank,
    }


def _ends_of_holds(caused: Mapping[str, Mapping[str, Seen]]) -> Iterator[Fields]:
    """Holds that ended together. The model checks the end that each has; the earliest end bounds the search."""
    ends: dict[tuple[str, str], int] = {}
    for by_sku in caused.values():
        for sku, seen in by_sku.items():
            for event in (each for each in seen.events if each.type == HELD):
                line, end = (event.data["order_id"], sku), nanoseconds(event.data["held_until"])
                ends[line] = min(end, ends.get(line, end))
    for cause, by_sku in caused.items():
        for sku, seen in by_sku.items() if cause.startswith(EXPIRY) else ():
            orders = [event.data["order_id"] for event in seen.events if event.type == RELEASED]
            begins = max((ends.get((order, sku), 0) for order in orders), default=0)
            yield _operation(sku, "expire", cause, {"orders": orders}, seen, begins / 1e9, None)


def _read(read: Read, orders: Mapping[str, set[str]]) -> Iterator[Fields]:
    answer, body = read.answer, read.answer.body if read.answer.status == OK else None
    if read.sku:
        shown = {"missing": True} if body is None else {"product": product_of(body)}
        yield _operation(read.sku, "read_product", read.id, {}, Seen(), answer.sent, answer.at, shown)
        return
    lines = {line["sku"]: line for line in body or ()}
    for sku in sorted(orders[read.order_id] | lines.keys()):
        shown = {"line": line_of(lines[sku])} if sku in lines else {"missing": True}
        yield _operation(sku, "read_line", read.id, {"order": read.order_id}, Seen(), answer.sent, answer.at, shown)
