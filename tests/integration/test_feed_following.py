"""When a process follows the events topic."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer

from app.adapters.kafka import clients, lifecycle
from app.adapters.kafka import feed as kafka_feed
from app.adapters.kafka.clients import KafkaConfig
from app.bootstrap import bootstrap
from app.settings import Settings
from tests.support.feed import page, read, sequences, starting, topic_of

pytestmark = pytest.mark.kafka


async def test_the_topic_is_followed_only_while_there_are_readers(
    kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = 0

    async def start_and_count(config: KafkaConfig) -> AIOKafkaConsumer:
        nonlocal started
        started += 1
        return await clients.start_unassigned(config)

    stopped = asyncio.Event()

    async def stop(client: AIOKafkaConsumer) -> None:
        await lifecycle.stop(client)
        stopped.set()

    async with bootstrap(kafka_settings) as service, topic_of(service) as topic:
        monkeypatch.setattr(kafka_feed, "clients", SimpleNamespace(start_unassigned=start_and_count))
        monkeypatch.setattr(kafka_feed, "lifecycle", SimpleNamespace(stop=stop))
        monkeypatch.setattr(kafka_feed, "UNUSED_SECONDS", 1.0)
        await topic.publish("CHAIR", [1])
        async with starting(service) as api:
            assert (await api.client.get("/livez")).status_code == 200
            assert started == 0, "nothing has been read yet"
            cursor = (await page(api, cursor="earliest"))["next_cursor"]
            assert started == 1

            await asyncio.wait_for(stopped.wait(), timeout=60)
            assert (await api.client.get("/v1/events")).status_code == 200, "a reader waits, also at the very end"
            assert started == 2
            await topic.publish("CHAIR", [2, 3])
            found, _ = await read(api, cursor, 2)
            assert sequences(found, "CHAIR") == [2, 3], "none was missed while the topic was not followed"
