"""`kill -9` between any two steps loses nothing and doubles nothing."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from app.embedded.process import free_port
from app.settings import Settings
from tests.e2e.conftest import sees_batch
from tests.support.api import Api, new, over_http
from tests.support.command import Command, environment, running
from tests.support.wire import Wire

pytestmark = pytest.mark.kafka

LINES = 60


async def place_until_answered(api: Api, sku: str, order: str) -> httpx.Response:
    """Retry a line until it is accepted, as a caller does after a lost connection or a 503."""
    deadline = asyncio.get_running_loop().time() + 60
    while True:
        assert asyncio.get_running_loop().time() < deadline, "no answer came"
        try:
            answer = await api.allocate(sku, 1, order_id=order)
            if answer.status_code != 503:
                return answer
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.02)  # poll


async def test_killed_between_requests_and_started_again_it_loses_and_doubles_nothing(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    port = free_port()
    url, env = f"http://127.0.0.1:{port}", environment(kafka_settings)
    wire = Wire(
        kafka_settings.kafka_bootstrap_servers,
        kafka_settings.kafka_inbound_topics[0],
        kafka_settings.kafka_events_topic,
    )
    sku = new("sku")
    orders: list[str] = []
    cancelled: list[str] = []
    command = Command("run", "--port", str(port), env=env, log=tmp_path / "0.log")
    try:
        command.wait_until_ready(url)
        async with over_http(url) as api:
            ref = await api.record(sku, 1000)
            await wire.events(sku, 1)
            for life in range(1, 3):
                placed = [new("order") for _ in range(LINES)]
                calls = [asyncio.create_task(place_until_answered(api, sku, order)) for order in placed]
                required = [new("order") for _ in range(10)]
                messages = [
                    wire.send("allocation_required.v1", {"order_id": order, "sku": sku, "qty": 1}) for order in required
                ]
                if orders:
                    cancelled.append(orders[-1])
                    wire.send("allocation_cancelled.v1", {"order_id": orders[-1], "sku": sku})
                # While responses are still being sent.
                await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                command.kill()
                command = Command("run", "--port", str(port), env=env, log=tmp_path / f"{life}.log")
                assert {answer.status_code for answer in await asyncio.gather(*calls)} <= {200, 201}
                for message, order in zip(messages, required, strict=True):
                    # Delivered once more, as a broker may.
                    line = {"order_id": order, "sku": sku, "qty": 1}
                    wire.send("allocation_required.v1", line, ce_id=message)
                orders += placed + required
            kept = [order for order in orders if order not in cancelled]
            events = await wire.events(sku, 1 + len(orders) + len(cancelled))
            assert Counter(event.type for event in events) == {
                "batch_created.v1": 1,
                "line_allocated.v1": len(orders),
                "line_deallocated.v1": len(cancelled),
            }
            assert {event.data["order_id"] for event in events if event.type == "line_allocated.v1"} == set(orders)
            assert (await api.batch(ref))["allocated_qty"] == len(kept)
            for order in (kept[0], kept[-1]):
                assert await api.batch_of(order) == ref
            for order in cancelled:
                assert await api.lines(order) == []
    finally:
        command.kill()
        wire.close()


async def test_a_second_instance_takes_over_the_messages_of_one_that_was_killed(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    env = environment(kafka_settings)
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    wire = Wire(
        kafka_settings.kafka_bootstrap_servers,
        kafka_settings.kafka_inbound_topics[0],
        kafka_settings.kafka_events_topic,
    )
    try:
        with running("run", "--port", str(ports[0]), env=env, log=tmp_path / "1.log") as first:
            first.wait_until_ready(urls[0])
            async with over_http(urls[0]) as api:
                # The first one reads every partition.
                for partition_key in range(12):
                    ref, sku = new("batch"), new("sku")
                    wire.send("batch_created.v1", {"ref": ref, "sku": sku, "qty": 1}, key=f"{partition_key}")
                    await sees_batch(api, ref)
            with running("run", "--port", str(ports[1]), env=env, log=tmp_path / "2.log") as second:
                second.wait_until_ready(urls[1])
                first.kill()
                skus = [new("sku") for _ in range(12)]
                for number, sku in enumerate(skus):
                    wire.send("batch_created.v1", {"ref": new("batch"), "sku": sku, "qty": 1}, key=f"{number}")
                for sku in skus:
                    assert [event.type for event in await wire.events(sku, 1)] == ["batch_created.v1"]
    finally:
        wire.close()
