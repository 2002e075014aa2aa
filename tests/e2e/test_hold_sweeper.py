"""Holds end in real processes: `consume` and `run` sweep, `serve` alone ends them with the next request on the SKU."""

import logging
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.embedded.process import free_port
from app.settings import Settings
from tests.support.api import Api, new, over_http
from tests.support.command import environment, running
from tests.support.database import raw_connection
from tests.support.waiting import eventually

pytestmark = pytest.mark.kafka

log = logging.getLogger(__name__)

PRODUCTS = 20

LATE = """
    SELECT released.subject AS sku, released.created_at - (held.data::json->>'held_until')::timestamptz AS late
    FROM events AS held JOIN events AS released USING (subject)
    WHERE held.type = 'line_held.v1' AND released.type = 'hold_released.v1' AND subject = ANY($1::text[])
"""


async def hold(api: Api) -> str:
    """A SKU whose only piece is held for a second, while another order waits for it."""
    sku = new("sku")
    await api.record(sku, 1)
    assert (await api.allocate(sku, 1, hold_for=1)).status_code == 201
    assert (await api.allocate(sku, 1)).status_code == 202
    return sku


async def ended(database_url: str, skus: Sequence[str]) -> dict[str, float]:
    """By how many seconds each hold ended late, once all have ended."""
    late: dict[str, float] = {}
    async with raw_connection(database_url) as connection:

        async def all_have_ended() -> bool:
            rows = await connection.fetch(LATE, skus)
            late.update({row["sku"]: row["late"].total_seconds() for row in rows})
            return len(late) == len(skus)

        await eventually(all_have_ended)
    return late


@pytest.mark.parametrize("sweeper", ["consume", "run"])
async def test_holds_end_within_a_second_without_traffic(
    kafka_settings: Settings, tmp_path: Path, sweeper: str
) -> None:
    port, database_url = free_port(), kafka_settings.database_url.get_secret_value()
    url, env = f"http://127.0.0.1:{port}", environment(kafka_settings)
    with ExitStack() as stack:
        on_port = ("--port", str(port))
        parts = [("run", *on_port)] if sweeper == "run" else [("serve", *on_port), ("consume",)]
        commands = [stack.enter_context(running(*part, env=env, log=tmp_path / f"{part[0]}.log")) for part in parts]
        commands[0].wait_until_ready(url)
        async with over_http(url) as api:
            # The first one shows that the sweeper has started.
            await ended(database_url, [await hold(api)])
            skus = [await hold(api) for _ in range(PRODUCTS)]
        late = await ended(database_url, skus)
        async with over_http(url) as api:
            products = [(await api.client.get(f"/v1/products/{sku}")).json() for sku in skus]

    log.info("the holds ended late by these seconds: %s", sorted(late.values()))
    assert min(late.values()) >= 0
    # The machine may be busy with other tests, so not each of them.
    assert statistics.median(late.values()) <= 1
    assert {(product["held_qty"], product["backordered_qty"]) for product in products} == {(0, 0)}


async def test_serve_alone_ends_a_hold_with_the_next_request_on_the_sku(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    port, database_url = free_port(), kafka_settings.database_url.get_secret_value()
    url, env = f"http://127.0.0.1:{port}", environment(kafka_settings)
    with running("serve", "--port", str(port), env=env, log=tmp_path / "serve.log") as serve:
        serve.wait_until_ready(url)
        async with over_http(url) as api, raw_connection(database_url) as connection:
            sku = new("sku")
            await api.record(sku, 1)
            await api.allocate(sku, 1, hold_for=1)

            async def is_long_over() -> bool:
                over = "SELECT earliest_hold_end < statement_timestamp() - interval '3 s' FROM products WHERE sku = $1"
                return bool(await connection.fetchval(over, sku))

            await eventually(is_long_over)
            assert (await api.client.get(f"/v1/products/{sku}")).json()["held_qty"] == 1

            assert (await api.allocate(sku, 1, if_unavailable="reject")).status_code == 201

            history = (await api.client.get(f"/v1/products/{sku}/history")).json()["items"]
    assert [(entry["event"], entry["reason"]) for entry in history[:-2]] == [
        ("line_allocated.v1", None),
        ("back_in_stock.v1", None),
        ("hold_released.v1", "expired"),
    ]
