"""The board of a shop in another time zone: its days and hours are those of the shop."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from app.bootstrap import bootstrap
from app.settings import Settings
from tests.http.test_board import get, rows, text_of
from tests.support.api import Api, in_process

DAY = timedelta(days=1)


@pytest.fixture
def zone() -> ZoneInfo:
    """A zone in which it is another day than in UTC."""
    return ZoneInfo("Pacific/Kiritimati" if datetime.now(UTC).hour >= 11 else "Pacific/Pago_Pago")


@pytest.fixture
async def there(settings: Settings, zone: ZoneInfo) -> AsyncIterator[Api]:
    """The application in that zone, over a database of its own."""
    async with bootstrap(settings.model_copy(update={"time_zone": zone.key})) as service, in_process(service) as api:
        yield api


async def test_days_have_their_distance_from_today_in_the_zone(there: Api, zone: ZoneInfo) -> None:
    today = datetime.now(zone).date()
    assert today != datetime.now(UTC).date()
    for name, eta in (("late", today - DAY), ("now", today), ("next", today + DAY)):
        await there.record("CHAIR", 1, ref=name, eta=eta.isoformat())
    order = await there.order("CHAIR", 1)

    shown = await text_of(there, "/batches")
    for eta, distance in (
        (today - DAY, "(yesterday) – late, orders wait"),
        (today, "(today)"),
        (today + DAY, "(tomorrow)"),
    ):
        assert f"{eta} {distance} Batch" in shown
    assert (await rows(there, "/batches.csv?late=true"))[0]["ref"] == "late"
    assert f"{today} (today) 1 0 0 0 1" in await text_of(there, "/products/CHAIR")
    assert "– late" not in await text_of(there, "/batches/now")
    assert "one is late: it was expected on" in await text_of(there, f"/orders/{order}")
    product = (await get(there, "/products/CHAIR")).text
    assert product.count(" late</text>") == 1


async def test_times_and_hours_are_those_of_the_zone(there: Api, zone: ZoneInfo) -> None:
    before = datetime.now(zone)
    await there.record("CHAIR", 1)
    await there.order("CHAIR", 1)
    await there.order("CHAIR", 1)
    after = datetime.now(zone)

    overview = await text_of(there, "")
    hours = {f"{time:%H}:00 1 1 1" for time in (before, after)}
    # The hour may have changed between the three events.
    assert any(hour in overview for hour in hours) or before.hour != after.hour
    for part in (f"1 Allocations today ({zone})", f"By hour, in {zone}.", f"Events by hour ({zone})"):
        assert part in overview
    assert "UTC" not in overview
    page = (await get(there, "")).text
    bars = {f'<rect x="{10 * time.hour + 1}" y="0.0"' for time in (before, after)}
    assert any(bar in page for bar in bars)
    assert f'data-zone="{zone}"' in page

    minutes = {f"{time:%Y-%m-%d %H:%M} {zone}" for time in (before, after)}
    history = await text_of(there, "/products/CHAIR")
    assert any(minute in history for minute in minutes)
    first = (await rows(there, "/products/CHAIR/history.csv"))[-1]["time"]
    assert before <= datetime.fromisoformat(first) <= after
    assert first.endswith(f"{before:%z}"[:3] + ":00")
    placed = (await rows(there, "/backorders.csv"))[0]["placed_at"]
    assert re.match(f"({before:%Y-%m-%dT%H}|{after:%Y-%m-%dT%H})", placed)


async def test_the_hours_of_the_api_begin_at_midnight_in_the_zone(there: Api, zone: ZoneInfo) -> None:
    found = (await there.client.get("/v1/activity")).json()
    now = datetime.fromisoformat(found["time"]).astimezone(zone)
    hours = [datetime.fromisoformat(hour["time"]).astimezone(zone) for hour in found["hours"]]
    assert [hour.hour for hour in hours] == list(range(now.hour + 1))
    assert {hour.date() for hour in hours} == {now.date()}
    assert found["hours_are_complete"]


async def test_hours_begin_with_the_day_in_a_zone_that_is_half_an_hour_apart(settings: Settings) -> None:
    zone = ZoneInfo("Asia/Kolkata")
    async with bootstrap(settings.model_copy(update={"time_zone": zone.key})) as service, in_process(service) as api:
        await api.record("CHAIR", 1)
        found = (await api.client.get("/v1/activity")).json()
        hours = [datetime.fromisoformat(hour["time"]).astimezone(zone) for hour in found["hours"]]
        assert [(hour.hour, hour.minute) for hour in hours] == [(number, 0) for number in range(len(hours))]
        assert sum(hour["arrivals"] for hour in found["hours"]) == 1
        assert f"{hours[-1]:%H}:00 0 0" in await text_of(api, "")
