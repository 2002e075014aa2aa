"""How far a relay has come in the outbox: what it need not read again, and what a partition has refused to take."""

import math
from dataclasses import dataclass, field, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """A partition that has refused its events, and takes none before `until` (on the monotonic clock).

    All of its events up to the id `position` are published and none can appear any more; the next ones have been left
    waiting since `oldest`. `seconds` is for how long it was last passed over. One that `has_caught_up` has been read up
    to where the others are.
    """

    position: int
    oldest: datetime
    until: float = -math.inf
    seconds: float = 0.0
    has_caught_up: bool = False


@dataclass(slots=True)
class Positions:
    """Every event up to the id `start` is published, or belongs to a partition in `refused`; none can appear any more.

    One task reads from `start` for all partitions but the refused ones. Another one reads for those, each from its own
    position, and marks them as caught up; the first takes them back when it is between two rounds.
    """

    start: int = 0
    refused: dict[int, Refusal] = field(default_factory=dict)

    def forget(self) -> None:
        """Have everything read from the first row again. That is always right: what was published is not there."""
        self.start = 0
        self.refused = {
            number: replace(refusal, position=0, has_caught_up=False) for number, refusal in self.refused.items()
        }

    def take_back(self) -> None:
        """End the refusal of partitions that have caught up: what they have not taken yet is read from `start` on."""
        for number, refusal in list(self.refused.items()):
            if refusal.has_caught_up:
                self.start = min(self.start, refusal.position)
                del self.refused[number]

    def advance(self, position: int) -> None:
        """All events up to `position` are published or belong to a refused partition."""
        self.start = max(self.start, position)

    def due(self, now: float) -> dict[int, Refusal]:
        """The refused partitions that are to be tried again."""
        return {
            number: refusal
            for number, refusal in self.refused.items()
            if refusal.until <= now and not refusal.has_caught_up
        }

    def go_back(self, partition: int, row_id: int) -> None:
        """Have the partition read from this row on: it waits although it should not."""
        if partition in self.refused:
            self.refused[partition] = replace(self.refused[partition], position=row_id - 1, has_caught_up=False)
        else:
            self.start = min(self.start, row_id - 1)
