"""HTML from templates. Every value is escaped, and a page loads nothing from other origins."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.domain.choice import MAIN_LOCATION
from app.read_model.overview import Count
from app.service_layer.results import BatchState

FOLDER = Path(__file__).parent
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Not `no-referrer`: a form would then be sent with `Origin: null`.
    "Referrer-Policy": "same-origin",
}
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def page(template: str, status: int = 200, *, zone: tzinfo = UTC, **values: Any) -> HTMLResponse:
    """The response with the rendered template. Its days and hours are those of the zone."""
    return HTMLResponse(_environment(zone).get_template(template).render(values), status, HEADERS)


def today_in(zone: tzinfo) -> date:
    """The current day."""
    return datetime.now(zone).date()


@dataclass(frozen=True, slots=True)
class _LocalTime:
    """Days and times as people in the zone write them."""

    zone: tzinfo

    def distance(self, day: date) -> str:
        """How far away a day is."""
        days = (day - today_in(self.zone)).days
        match days:
            case 0:
                return "today"
            case 1:
                return "tomorrow"
            case -1:
                return "yesterday"
            case _:
                return f"in {days} days" if days > 0 else f"{-days} days ago"

    def is_past(self, day: date) -> bool:
        """Whether the day is over."""
        return day < today_in(self.zone)

    def minute(self, time: datetime) -> str:
        """The day and the minute."""
        return f"{time.astimezone(self.zone):%Y-%m-%d %H:%M} {self.zone}"

    def hour(self, time: datetime) -> str:
        """The time on its day."""
        return f"{time.astimezone(self.zone):%H:%M}"


def _age(time: datetime) -> str:
    """How long ago a time was, in its largest unit."""
    seconds = max(0, int((datetime.now(UTC) - time).total_seconds()))
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= unit:
            number = seconds // unit
            return f"{number} {name}{'s' if number > 1 else ''}"
    return "under a minute"


def _number(count: Count) -> str:
    return f"{count.count:,}" if count.count_is_exact else f"over {count.count:,}"


def _duration(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 10 * _MINUTE else f"{seconds / _MINUTE:,.0f} min"


def _event_name(ce_type: str) -> str:
    """`line_allocated.v1` as words."""
    return ce_type.partition(".")[0].replace("_", " ")


def _has_terms(batch: BatchState) -> bool:
    """Whether a batch is elsewhere than others, expires or is blocked."""
    return batch.location != MAIN_LOCATION or batch.best_before is not None or batch.blocked


@cache
def _environment(zone: tzinfo) -> Environment:
    """The templates, which are compiled once for each zone. A process has one."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    local = _LocalTime(zone)
    environment.globals.update(zone=str(zone), main_location=MAIN_LOCATION)
    environment.tests["with_terms"] = _has_terms
    environment.filters.update(
        distance=local.distance,
        is_past=local.is_past,
        age=_age,
        minute=local.minute,
        hour=local.hour,
        month_day=lambda day: day.strftime("%m-%d"),
        iso=lambda value: value.isoformat(),
        number=_number,
        duration=_duration,
        event_name=_event_name,
        reason_text=lambda reason: reason.replace("_", " "),
    )
    return environment
