"""Logs when the database becomes unavailable, and when it is available again.

A process waits for an unavailable database and may have no work that would fail, so it checks the database itself.
"""

import asyncio
import logging

from app.adapters.postgresql.database_url import DatabaseUrl
from app.bootstrap import Service
from app.cancellation import raise_if_cancelled
from app.operations import readiness
from app.operations.error_text import first_line

log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between checks while the database is available."""

RETRY_INTERVAL = 1.0
TIMEOUT = 5.0
AWAY = "the database does not answer"


async def watch(service: Service) -> None:
    """Check the database until cancelled."""
    urls = (service.settings.database_url, service.settings.read_database_url)
    places = ", ".join(DatabaseUrl.parse(url.get_secret_value()).place for url in urls if url is not None)
    known: str | None = None
    while True:
        fault, reason = await _examine(service)
        if fault is not None and fault != known:
            log.warning("%s (%s)%s; it is checked each second", fault, places, reason)
        elif fault is None and known is not None:
            log.info("the database is available (%s)", places)
        known = fault
        await asyncio.sleep(INTERVAL if fault is None else RETRY_INTERVAL)


async def _examine(service: Service) -> tuple[str | None, str]:
    """The fault or None, and the driver's message, which may differ between checks."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return await readiness.check(service), ""
    except Exception as error:  # noqa: BLE001 - every failure means that the database is unavailable
        raise_if_cancelled()
        return AWAY, f": {first_line(error)}"
