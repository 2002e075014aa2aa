"""HTML from templates. Every value is escaped, and a page loads nothing from other origins."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.read_model.overview import Count

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


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """The response with the rendered template."""
    return HTMLResponse(_environment.get_template(template).render(values), status, HEADERS)


def _distance(day: date) -> str:
    """How far away a day is, in UTC."""
    days = (day - datetime.now(UTC).date()).days
    match days:
        case 0:
            return "today"
        case 1:
            return "tomorrow"
        case -1:
            return "yesterday"
        case _:
            return f"in {days} days" if days > 0 else f"{-days} days ago"


def _age(time: datetime) -> str:
    """How long ago a time was, in its largest unit."""
    seconds = max(0, int((datetime.now(UTC) - time).total_seconds()))
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= unit:
            number = seconds // unit
            return f"{number} {name}{'s' if number > 1 else ''}"
    return "under a minute"


def _minute(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _number(count: Count) -> str:
    return f"{count.count:,}" if count.count_is_exact else f"over {count.count:,}"


def _duration(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 10 * _MINUTE else f"{seconds / _MINUTE:,.0f} min"


def _is_past(day: date) -> bool:
    return day < datetime.now(UTC).date()


def _event_name(ce_type: str) -> str:
    """`line_allocated.v1` as words."""
    return ce_type.partition(".")[0].replace("_", " ")


_environment = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(
    distance=_distance,
    is_past=_is_past,
    age=_age,
    minute=_minute,
    hour=lambda time: time.strftime("%H:%M"),
    month_day=lambda day: day.strftime("%m-%d"),
    iso=lambda value: value.isoformat(),
    number=_number,
    duration=_duration,
    event_name=_event_name,
    reason_text=lambda reason: reason.replace("_", " "),
)
