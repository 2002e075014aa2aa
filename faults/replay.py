"""Replays the events: the stock that a subscriber derives from the topic's first record on.

It uses only the contract, and reports each event that does not follow from the earlier ones.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from faults.replayed import ReplayedBatch, ReplayedLine
from faults.rule import ANYTHING, Wants, can_hold, preference
from faults.story import Event, time_of

EXACT, PROMPT = 0.001, 60.0
"""Seconds. A hold may end so much early, and be confirmed so much late: the event is later than its decision."""


@dataclass
class Replay:
    """The state after the events so far, and their violations."""

    batches: dict[str, ReplayedBatch] = field(default_factory=dict)
    lines: dict[tuple[str, str], ReplayedLine] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    wants: Mapping[tuple[str, str], Wants] = field(default_factory=dict)
    # For each SKU: its batches, and its lines without a batch. Searching all lines each time would be slow.
    _batches_of: dict[str, list[ReplayedBatch]] = field(default_factory=lambda: defaultdict(list))
    _unplaced: dict[str, dict[str, ReplayedLine]] = field(default_factory=lambda: defaultdict(dict))
    _reported: set[tuple[str, str]] = field(default_factory=set)
    _count: int = 0

    def __post_init__(self) -> None:
        """Name the types of events."""
        self._plays: dict[str, Callable[[Event], None]] = {
            "batch_created.v1": self._record_batch,
            "batch_quantity_changed.v1": self._change_batch,
            "batch_eta_changed.v1": self._change_batch,
            "batch_changed.v1": self._change_batch,
            "line_allocated.v1": self._allocate,
            "line_held.v1": self._hold,
            "hold_released.v1": self._end_hold,
            "line_backordered.v1": self._queue,
            "line_deallocated.v1": self._deallocate,
            "line_shipped.v1": self._ship,
            "out_of_stock.v1": self._ignore,
            "allocation_failed.v1": self._ignore,
            "low_stock.v1": self._check_stock,
            "back_in_stock.v1": self._check_stock,
        }

    @classmethod
    def of(cls, first_occurrences: Iterable[Event], wants: Mapping[tuple[str, str], Wants] | None = None) -> "Replay":
        """Replay the events, each SKU's in the order in which they came; events do not say what lines want."""
        replay = cls(wants=wants or {})
        streams: dict[str, list[Event]] = defaultdict(list)
        for event in first_occurrences:
            if event.sequence is not None:
                streams[event.subject].append(event)
        for sku, stream in streams.items():
            replay._play_stream(sku, stream)
        return replay

    def _play_stream(self, sku: str, stream: list[Event]) -> None:
        cause = stream[0].cause
        for event in stream:
            # The events of one command are contiguous, and the rules hold between commands.
            if event.cause != cause:
                self._check_rules(sku, cause)
                cause = event.cause
            self._play(event)
        self._check_rules(sku, cause)

    def _play(self, event: Event) -> None:
        play = self._plays.get(event.type)
        if play is None:
            self._fault(event, f"is of the unknown type {event.type}")
        else:
            play(event)

    def _ignore(self, event: Event) -> None:
        """It changes nothing."""

    def _record_batch(self, event: Event) -> None:
        if event.data["ref"] in self.batches:
            self._fault(event, "records a batch a second time")
            return
        batch = ReplayedBatch(event.data["ref"], event.subject, event.data["qty"], event.data["eta"])
        _set_terms(batch, event)
        self.batches[batch.ref] = batch
        self._batches_of[event.subject].append(batch)

    def _change_batch(self, event: Event) -> None:
        batch = self._batch(event, event.data["ref"])
        if batch is not None:
            batch.qty, batch.eta = event.data["qty"], event.data["eta"]
            _set_terms(batch, event)

    def _check_stock(self, event: Event) -> None:
        batches = self._batches_of[event.subject]
        available = sum(batch.available_qty for batch in batches)
        if event.type == "low_stock.v1":
            # Held pieces may not be sold, so they do not make stock low.
            available += sum(batch.held_qty for batch in batches)
        if event.data["available_qty"] != available:
            self._fault(event, f"but the batches have {available} available")
        if event.data.get("reorder_point", available + 1) <= available:
            self._fault(event, "says low stock, but there is enough")

    def _allocate(self, event: Event) -> None:
        line = self._arrived(event)
        batch = self._batch(event, event.data["batch_ref"])
        if line.held_until is not None:
            self._confirm(event, line, line.held_until)
            return
        if line.batch_ref is not None:
            self._fault(event, f"allocates a line that {line.batch_ref} holds already")
            return
        waited = line.waits
        line.batch_ref, line.released = event.data["batch_ref"], False
        self._unplaced[event.subject].pop(line.order_id, None)
        if batch is not None:
            self._check_choice(event, line, batch)
            if waited:
                self._check_turn(event, line)
            batch.allocated_qty += line.qty

    def _check_choice(self, event: Event, line: ReplayedLine, chosen: ReplayedBatch) -> None:
        """The line gets the preferred one of the batches that can hold it. A batch that is too small is oversold."""
        wants = self.wants.get((line.order_id, line.sku), ANYTHING)
        if not can_hold(chosen, min(line.qty, chosen.available_qty), wants) or chosen.blocked:
            self._fault(event, f"allocates from {chosen}, and the line may not have it: {wants}")
            return
        batches = list(enumerate(self._batches_of[event.subject]))
        fitting = [(number, each) for number, each in batches if each is chosen or can_hold(each, line.qty, wants)]
        _, best = min(fitting, key=lambda each: preference(each[1], each[0], wants))
        if best is not chosen:
            self._fault(event, f"allocates from {chosen.ref} although {best.ref} comes first")

    def _check_turn(self, event: Event, line: ReplayedLine) -> None:
        """No batch could hold a line that comes first in the queue: one with a higher priority, or an older one."""
        place = self._place_in_queue(line)
        batches = self._batches_of[event.subject]
        for other in self._unplaced[event.subject].values():
            wants = self.wants.get((other.order_id, other.sku), ANYTHING)
            is_first = other.waits and self._place_in_queue(other) < place
            if is_first and any(can_hold(each, other.qty, wants) for each in batches):
                self._fault(event, f"serves a line although that of {other.order_id} comes first")

    def _place_in_queue(self, line: ReplayedLine) -> tuple[int, int]:
        return (-self.wants.get((line.order_id, line.sku), ANYTHING).priority, line.number)

    def _confirm(self, event: Event, line: ReplayedLine, held_until: float) -> None:
        if line.batch_ref != event.data["batch_ref"]:
            self._fault(event, f"confirms a line that {line.batch_ref} holds")
        if event.created > held_until + PROMPT:
            self._fault(event, f"confirms a hold that ended {event.created - held_until:.1f} s before")
        line.held_until = None
        if line.batch_ref is not None and (batch := self._batch(event, line.batch_ref)) is not None:
            batch.held_qty -= line.qty

    def _hold(self, event: Event) -> None:
        known = self.lines.get((event.data["order_id"], event.subject))
        if known is not None and known.held_until is None:
            self._fault(event, "holds a line that is firm")
            return
        line, ref, until = self._arrived(event), event.data["batch_ref"], time_of(event.data["held_until"])
        if (line.batch_ref, line.held_until) == (ref, until):
            self._fault(event, "changes neither the batch of the hold nor its end")
        self._count_hold(event, line, -line.qty)
        line.batch_ref, line.held_until, line.released = ref, until, False
        self._unplaced[event.subject].pop(line.order_id, None)
        self._count_hold(event, line, line.qty)

    def _end_hold(self, event: Event) -> None:
        key = (event.data["order_id"], event.subject)
        line = self.lines.get(key)
        if line is None:
            self._fault(event, "ends a hold that is not there")
            return
        if line.held_until is None:
            self._fault(event, "ends the hold of a line that is firm")
            return
        if (line.batch_ref, line.qty) != (event.data["batch_ref"], event.data["qty"]):
            self._fault(event, f"ends a hold of {line.qty} pieces of {line.batch_ref}")
        if event.data["reason"] == "expired" and 0 < event.created < line.held_until - EXACT:
            self._fault(event, f"ends a hold {line.held_until - event.created:.3f} s before its end")
        self._count_hold(event, line, -line.qty)
        del self.lines[key]

    def _count_hold(self, event: Event, line: ReplayedLine, qty: int) -> None:
        if line.batch_ref is not None and (batch := self._batch(event, line.batch_ref)) is not None:
            batch.allocated_qty += qty
            batch.held_qty += qty

    def _queue(self, event: Event) -> None:
        key = (event.data["order_id"], event.subject)
        known = self.lines.get(key)
        if known is not None and not known.released:
            self._fault(event, "queues a line that was accepted already")
            return
        self._arrived(event).released = False

    def _deallocate(self, event: Event) -> None:
        key = (event.data["order_id"], event.subject)
        line = self.lines.get(key)
        if line is None or line.released:
            self._fault(event, "takes a line away that is not there")
            return
        if line.shipped:
            self._fault(event, f"takes a line away that {line.batch_ref} has shipped")
            return
        if line.held_until is not None:
            self._fault(event, "takes a line away that is held")
            return
        if (line.batch_ref, line.qty) != (event.data["batch_ref"], event.data["qty"]):
            self._fault(event, f"takes the line from {event.data['batch_ref']}, but it was with {line.batch_ref}")
        if line.batch_ref is not None and (batch := self._batch(event, line.batch_ref)) is not None:
            batch.allocated_qty -= line.qty
        if event.data["reason"] == "cancelled":
            del self.lines[key]
            self._unplaced[event.subject].pop(line.order_id, None)
        else:
            line.batch_ref, line.released = None, True
            self._unplaced[event.subject][line.order_id] = line

    def _ship(self, event: Event) -> None:
        line = self.lines.get((event.data["order_id"], event.subject))
        if line is None or line.batch_ref is None:
            self._fault(event, "ships a line that no batch holds")
            return
        if line.shipped:
            self._fault(event, "ships a line a second time")
            return
        if line.held_until is not None:
            self._fault(event, "ships a line that is held")
            return
        if (line.batch_ref, line.qty) != (event.data["batch_ref"], event.data["qty"]):
            self._fault(event, f"ships {line.qty} pieces that {line.batch_ref} holds")
        line.shipped = True
        if (batch := self._batch(event, line.batch_ref)) is not None:
            batch.allocated_qty -= line.qty
            batch.shipped_qty += line.qty

    def _arrived(self, event: Event) -> ReplayedLine:
        """The line of the event, created by its first event."""
        key = (event.data["order_id"], event.subject)
        line = self.lines.get(key)
        if line is None:
            self._count += 1
            line = ReplayedLine(*key, event.data["qty"], released=True, number=self._count)
            self.lines[key] = self._unplaced[event.subject][line.order_id] = line
        if line.qty != event.data["qty"]:
            self._fault(event, f"says {event.data['qty']} pieces of a line of {line.qty}")
        return line

    def _batch(self, event: Event, ref: str) -> ReplayedBatch | None:
        batch = self.batches.get(ref)
        if batch is None or batch.sku != event.subject:
            self._fault(event, f"names the unknown batch {ref}")
            return None
        return batch

    def _check_rules(self, sku: str, cause: str) -> None:
        batches = self._batches_of[sku]
        for batch in batches:
            if batch.free_qty < 0:
                self._fault_once(sku, batch.ref, f"{batch.ref} is oversold by {-batch.free_qty} after {cause}")
        room = max((batch.available_qty for batch in batches), default=0)
        for line in self._unplaced[sku].values():
            if line.released:
                what = f"{line.order_id} of {sku} left its batch and came nowhere after {cause}"
                self._fault_once(sku, line.order_id, what)
            elif line.qty <= room and self._has_room(line):
                what = f"{line.order_id} of {sku} waits after {cause} although a batch has room for it"
                self._fault_once(sku, line.order_id, what)

    def _has_room(self, line: ReplayedLine) -> bool:
        wants = self.wants.get((line.order_id, line.sku), ANYTHING)
        return any(can_hold(batch, line.qty, wants) for batch in self._batches_of[line.sku])

    def _fault_once(self, sku: str, name: str, what: str) -> None:
        if (sku, name) not in self._reported:
            self._reported.add((sku, name))
            self.faults.append(f"replay: {what}")

    def _fault(self, event: Event, what: str) -> None:
        self.faults.append(f"replay: {event.type} {event.subject} {event.sequence} ({event.data}) {what}")


def _set_terms(batch: ReplayedBatch, event: Event) -> None:
    """Set the terms that the event has. Those that are as usual are left out where a batch is recorded."""
    for name in ("location", "best_before", "blocked"):
        setattr(batch, name, event.data.get(name, getattr(batch, name)))
