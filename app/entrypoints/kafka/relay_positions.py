"""The positions of a relay in the outbox, for all partitions, and for the partitions and subjects that are refused."""

import logging
import math
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from app.adapters.postgresql.outbox_rows import OutboxRow
from app.backoff import next_delay

log = logging.getLogger(__name__)

Queue = tuple[int, str | None]
"""All events of a partition, or with a subject only its events in the partition."""

ANY_SIZE = 2**31


@dataclass(frozen=True, slots=True)
class Refusal:
    """A queue that has been refused and is not tried before `until` (on the monotonic clock).

    All of its events up to the id `position` are published, and no more can appear there. `oldest` is the time of the
    first event that waits, `seconds` the last delay, `size` the number of events in the first batch of the next
    attempt, at most. `has_caught_up`: it has been read up to the other queues.
    """

    position: int
    oldest: datetime
    until: float = -math.inf
    seconds: float = 0.0
    size: int = ANY_SIZE
    has_caught_up: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a partition refused. `unfit` has the rows of the batch if that was refused for its content."""

    error: Exception
    unfit: Sequence[OutboxRow] = ()


@dataclass(slots=True)
class Positions:
    """Every event up to the id `start` is published or belongs to a queue in `refused`; no more can appear there.

    One task reads from `start` for all events but the refused ones. A second task reads for those, each queue from its
    own position, and marks them as caught up. Between two rounds, the first task takes them back. While a subject is
    refused, its events do not belong to the queue of its partition.
    """

    start: int = 0
    refused: dict[Queue, Refusal] = field(default_factory=dict)

    def reset(self) -> None:
        """Read everything from the first row again. Always safe: published events are deleted from the outbox.

        A queue that has caught up is taken back, because the second task does not wait for it any more.
        """
        self.start = 0
        self.refused = {
            queue: replace(refusal, position=0) for queue, refusal in self.refused.items() if not refusal.has_caught_up
        }

    def take_back(self) -> None:
        """End the refusal of queues that have caught up: their remaining events are read from `start` on.

        Those of a subject are read from the position of its partition on, if that is refused.
        """
        for queue in list(self.refused):
            refusal = self.refused[queue]
            if refusal.has_caught_up:
                del self.refused[queue]
                self.go_back(queue_of(self.refused, *queue), refusal.position)

    def refuse(self, queue: Queue, refusal: Refusal, refused: Refused, *, first: float, longest: float) -> None:
        """Skip the queue, for `first` seconds the first time, then twice as long as the last time, at most `longest`.

        If a batch of several rows was refused for its content, the queue is due at once with half as many. A single
        row refuses its subject, and the other rows of the partition are due at once.
        """
        number, subject = queue
        unfit = refused.unfit
        if not unfit or [row.subject for row in unfit] == [subject]:
            seconds = next_delay(refusal.seconds, first=first, longest=longest)
            # A refused subject is retried with its first event alone.
            refusal = replace(refusal, seconds=seconds, until=time.monotonic() + seconds, size=len(unfit) or ANY_SIZE)
        else:
            refusal = replace(refusal, until=-math.inf, size=len(unfit) // 2 or refusal.size)
        self.refused[queue] = refusal
        if len(unfit) == 1 and subject is None and (number, unfit[0].subject) not in self.refused:
            alone = Refusal(refusal.position, unfit[0].created_at)
            self.refuse((number, unfit[0].subject), alone, refused, first=first, longest=longest)
        elif len(unfit) == 1 and unfit[0].subject == subject:
            text = "event %d of %s is refused and will be retried in %.1f s; later events of %s wait: %r"
            log.error(text, unfit[0].id, subject, refusal.seconds, subject, refused.error)

    def advance(self, position: int) -> None:
        """All events up to `position` are published or belong to a refused queue."""
        self.start = max(self.start, position)

    def due(self, now: float) -> dict[Queue, Refusal]:
        """The refused queues to be retried now."""
        return {
            queue: refusal
            for queue, refusal in self.refused.items()
            if refusal.until <= now and not refusal.has_caught_up
        }

    def go_back(self, queue: Queue | None, position: int) -> None:
        """Read from this position on for a refused queue, or for all that are not refused."""
        refusal = self.refused.get(queue) if queue is not None else None
        if queue is not None and refusal is not None:
            position = min(refusal.position, position)
            self.refused[queue] = replace(refusal, position=position)
        else:
            self.start = min(self.start, position)


def queue_of(refused: Container[Queue], partition: int, subject: str | None) -> Queue | None:
    """The refused queue to which an event belongs: that of its subject, else that of its partition; None without."""
    for queue in ((partition, subject), (partition, None)):
        if queue in refused:
            return queue
    return None
