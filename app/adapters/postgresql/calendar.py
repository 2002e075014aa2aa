"""The time and the day on which a unit of work decides."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo

Clock = Callable[[datetime], datetime]
"""Returns the time to use in place of the time of the database. Tests move it."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """Turns the time of the database into the time to use, and into the day in the time zone of the shop."""

    zone: tzinfo = UTC
    clock: Clock = lambda now: now

    def at(self, time: datetime) -> tuple[datetime, date]:
        """The time to use, and its day."""
        now = self.clock(time)
        return now, now.astimezone(self.zone).date()


UTC_CALENDAR = Calendar()
