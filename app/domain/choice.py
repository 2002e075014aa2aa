"""What an order line requires of its batch, and its priority.

`Batches.best` decides by it which batch a line gets. Everything that asks this question uses that one function: placing
and moving lines, availability, and dry runs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Self

MAIN_LOCATION = "main"
"""The location of a batch that was recorded without one."""

DEFAULT_PRIORITY = 5
HIGHEST_PRIORITY = 9

NEVER = date.max
"""Stands for the day on which goods without a `best_before` expire."""


def queue_rank(priority: int) -> int:
    """The rank of a priority in the queue: 1 is served first, 10 last. Applied to a rank, it returns the priority."""
    return HIGHEST_PRIORITY + 1 - priority


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a line requires of its batch, and its priority in the queue.

    `locations` are those that may serve it, the best one first; none: any. The goods must be good through `good_until`;
    None: today. Lines with the highest `priority` are served first: 0 to 9.
    """

    locations: tuple[str, ...] = ()
    good_until: date | None = None
    priority: int = DEFAULT_PRIORITY

    @classmethod
    def of(cls, locations: Iterable[str], good_until: date | None, priority: int = DEFAULT_PRIORITY) -> Self:
        """The requirements of a caller. A location that is named twice counts at its first place."""
        return cls(tuple(dict.fromkeys(locations)), good_until, priority)


ANY_BATCH = Requirements()
"""The requirements of a line that named none."""
