"""The positions of a relay in the outbox, for all partitions and for those that refuse their events."""

import math
from dataclasses import dataclass, field, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """A partition that has refused its events and is not tried before `until` (on the monotonic clock).

    All of its events up to the id `position` are published, and no more can appear there. `oldest` is the time of the
    first event that waits, `seconds` the last delay. `has_caught_up`: it has been read up to the other partitions.
    """

    position: int
    oldest: datetime
    until: float = -math.inf
    seconds: float = 0.0
    has_caught_up: bool = False


@dataclass(slots=True)
class Positions:
    """Every event up to the id `start` is published or belongs to a partition in `refused`; no more can appear there.

    One task reads from `start` for all partitions but the refused ones. A second task reads for those, each from its
    own position, and marks them as caught up. Between two rounds, the first task takes them back.
    """

    start: int = 0
    refused: dict[int, Refusal] = field(default_factory=dict)

    def reset(self) -> None:
        """Read everything from the first row again. Always safe: published events are deleted from the outbox."""
        self.start = 0
        self.refused = {
            number: replace(refusal, position=0, has_caught_up=False) for number, refusal in self.refused.items()
        }

    def take_back(self) -> None:
        """End the refusal of partitions that have caught up: their remaining events are read from `start` on."""
        for number, refusal in list(self.refused.items()):
            if refusal.has_caught_up:
                self.start = min(self.start, refusal.position)
                del self.refused[number]

    def advance(self, position: int) -> None:
        """All events up to `position` are published or belong to a refused partition."""
        self.start = max(self.start, position)

    def due(self, now: float) -> dict[int, Refusal]:
        """The refused partitions to be retried now."""
        return {
            number: refusal
            for number, refusal in self.refused.items()
            if refusal.until <= now and not refusal.has_caught_up
        }

    def go_back(self, partition: int, row_id: int) -> None:
        """Read the partition from this row on, which was missed."""
        if partition in self.refused:
            self.refused[partition] = replace(self.refused[partition], position=row_id - 1, has_caught_up=False)
        else:
            self.start = min(self.start, row_id - 1)
