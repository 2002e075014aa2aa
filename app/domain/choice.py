"""What an order line requires of its batch.

`Batches.best` decides by it which batch a line gets. Everything that asks this question uses that one function: placing
and moving lines, availability, and dry runs.
"""

from dataclasses import dataclass
from datetime import date

MAIN_LOCATION = "main"
"""The location of a batch that was recorded without one."""

NEVER = date.max
"""Stands for the day on which goods without a `best_before` expire."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a line requires of its batch.

    `locations` are those that may serve it, the best one first; none: any. The goods must be good through `good_until`;
    None: today.
    """

    locations: tuple[str, ...] = ()
    good_until: date | None = None


ANY_BATCH = Requirements()
"""The requirements of a line that named none."""
