"""A confirmation against the end of the hold, in two processes and beside the sweeper: exactly one of the two wins."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from app.embedded.process import free_port
from tests.e2e.conftest import World
from tests.support.api import Api, new, over_http
from tests.support.command import environment, running
from tests.support.database import raw_connection

HOLDS = 400
SENDERS = 16
SECONDS = 15
CERTAIN = 20
"""How many come certainly in time, and how many certainly too late."""


@pytest.fixture
async def second(world: World, tmp_path: Path) -> AsyncIterator[Api]:
    """A second process over the same database."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running("serve", "--port", str(port), env=environment(world.settings), log=tmp_path / "serve.log") as command:
        command.wait_until_ready(url)
        async with over_http(url) as api:
            yield api


async def test_a_hold_is_confirmed_or_ends_and_never_both(world: World, second: Api) -> None:
    apis, orders = (world.api, second), {new("sku"): new("order") for _ in range(HOLDS)}
    waiting = {sku: new("waiting") for sku in orders}
    batches = [{"ref": new("batch"), "sku": sku, "qty": 1} for sku in orders]
    await _bulk(world.api, "batches", batches)
    lines: list[dict[str, Any]] = [{"order_id": order, "sku": sku, "qty": 1} for sku, order in orders.items()]
    await _bulk(world.api, "allocations", [line | {"hold_for": SECONDS} for line in lines])
    await _bulk(world.api, "allocations", [{"order_id": waiting[sku], "sku": sku, "qty": 1} for sku in orders])
    (last,) = await world.api.lines(lines[-1]["order_id"])
    end = datetime.fromisoformat(last["held_until"])
    answers: dict[str, int] = {}

    async def confirm(some: Sequence[dict[str, Any]], seconds_from_end: float) -> None:
        """Confirm the lines, beginning at that time from the end of their hold."""
        await asyncio.sleep(max(0.0, (end - datetime.now(end.tzinfo)).total_seconds() + seconds_from_end))
        remaining = iter(enumerate(some))

        async def confirm_next() -> None:
            for number, line in remaining:
                body = line | {"if_unavailable": "reject"}
                answer = await apis[number % 2].client.post("/v1/allocations", json=body)
                answers[line["sku"]] = answer.status_code

        await asyncio.gather(*(confirm_next() for _ in range(SENDERS)))

    # On any machine some come in time and some too late; most come around the end.
    await confirm(lines[:CERTAIN], -SECONDS)
    await confirm(lines[CERTAIN:-CERTAIN], -0.5)
    await confirm(lines[-CERTAIN:], 0.1)

    events = await _events(world)
    for sku, order in orders.items():
        ended = ("hold_released.v1", order) in events[sku]
        winner = waiting[sku] if ended else order
        assert answers[sku] == (409 if ended else 201), (sku, events[sku])
        assert [name for kind, name in events[sku] if kind == "line_allocated.v1"] == [winner], (sku, events[sku])
    assert set(answers.values()) == {201, 409}


async def _bulk(api: Api, path: str, items: Sequence[Mapping[str, object]]) -> None:
    answer = await api.client.post(f"/v1/{path}/bulk", json={"items": items})
    assert answer.status_code == 200, answer.text
    assert {result["status"] for result in answer.json()["results"]} <= {201, 202}


async def _events(world: World) -> dict[str, list[tuple[str, str]]]:
    """The types and orders of all events of lines, by SKU."""
    found: dict[str, list[tuple[str, str]]] = {}
    async with raw_connection(world.settings.database_url.get_secret_value()) as connection:
        rows = await connection.fetch(
            "SELECT subject, type, data::json ->> 'order_id' AS order_id FROM events ORDER BY id"
        )
    for row in rows:
        found.setdefault(row["subject"], []).append((row["type"], row["order_id"]))
    return found
